"""Prepare rows: read them, check each one, and write data/train.jsonl, valid.jsonl and test.jsonl.

python dataset.py --type sql                                    the default rows of a task
python dataset.py --type sql --dataset-name my_rows.csv         your own rows
python dataset.py --type chat --dataset-name chats/ --show 3    also print rows as the model sees them
python dataset.py --type preference --from-adapter sft          pairs from a model's own answers
"""  # PYTHON_ARGCOMPLETE_OK

from finetune import signals

if __name__ == "__main__":  # before the imports, which take a moment
    signals.exit_at_once()

from finetune import scripts
from finetune.records.dataset import check_output, write_dataset
from finetune.records.times import Times
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS
from finetune.terminal import say


def main(config: DatasetConfig) -> None:
    from finetune.dataset import preview
    from finetune.dataset.prepare import prepare

    if config.list_:
        preview.print_types(ROW_KINDS)
        return
    if config.from_adapter:
        from finetune.dataset import own_pairs

        own_pairs.make(config)
        return
    times = Times()
    check_output(config.output_dir)
    encoder = preview.encoder(config, say)
    dataset = prepare(config, ROW_KINDS[config.type_], say, encoder)
    times.rest("reading and checking")
    with times.of("writing"):
        write_dataset(config.output_dir, dataset.splits, dataset.findings.rejected, dataset.record(config))
    preview.print_summary(config, dataset)
    if encoder:
        preview.print_lengths(dataset.lengths, config)
        preview.print_examples(dataset, config.show, encoder)
    say(f"Done in {times}.")


if __name__ == "__main__":
    scripts.run(main, DatasetConfig)
