"""Prepare rows: read them, check each one, and write data/train.jsonl, valid.jsonl and test.jsonl.

python dataset.py --type sql                                    the task's own rows
python dataset.py --type sql --dataset-name my_rows.csv         yours
python dataset.py --type chat --dataset-name chats/ --show 3    what the model will see
python dataset.py --type preference --from-adapter sft          pairs of the model's own answers
"""

from finetune import scripts
from finetune.records.dataset import write_dataset
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS
from finetune.terminal import say


def main(config: DatasetConfig) -> None:
    from finetune.dataset import preview
    from finetune.dataset.prepare import prepare

    if config.list:
        preview.print_types(ROW_KINDS)
        return
    if config.from_adapter:
        from finetune.dataset import own_pairs

        own_pairs.make(config)
        return
    encoder = preview.encoder(config, say)
    dataset = prepare(config, ROW_KINDS[config.type], say, encoder)
    write_dataset(config.output_dir, dataset.splits, dataset.findings.rejected, dataset.record(config))
    preview.print_summary(config, dataset)
    if encoder:
        preview.print_lengths(dataset.lengths, config)
        preview.print_rows(dataset.splits["train"][: config.show], encoder)


if __name__ == "__main__":
    scripts.run(main, DatasetConfig)
