"""Prepare rows: read them, check each one, and write data/train.jsonl, valid.jsonl and test.jsonl.

python dataset.py --type sql                                    the task's own rows
python dataset.py --type sql --dataset-name my_rows.jsonl       yours
"""

from finetune import artifacts, cli
from finetune.config import DatasetConfig
from finetune.progress import say
from finetune.tasks import TASKS


def main(config: DatasetConfig) -> None:
    from finetune.rows import prepare

    dataset = prepare(config, TASKS[config.type], say)
    artifacts.make_folder(config.output_dir)
    files = {split: artifacts.split_file(config.output_dir, split) for split in artifacts.SPLITS}
    for split, path in files.items():
        artifacts.write_jsonl(path, dataset.splits[split])
    rows = {split: len(dataset.splits[split]) for split in artifacts.SPLITS}
    record = {
        "format": 1,
        "type": config.type,
        "source": dataset.source,
        "seed": config.seed,
        "split_rule": dataset.split_rule,
        "read": dataset.read,
        "kept": sum(rows.values()),
        "dropped": dataset.dropped,
        "rows": rows,
        "files": {path.name: artifacts.file_hash(path) for path in files.values()},
    }
    artifacts.write_json(config.output_dir / artifacts.DATASET_RECORD, record)

    print(f"{config.type} rows from {dataset.source['source']}: {dataset.read} read, {record['kept']} kept")
    for reason, count in dataset.dropped.items():
        print(f"  {count} dropped: {reason}")
    for split, path in files.items():
        print(f"  {path}  {rows[split]} rows")


if __name__ == "__main__":
    cli.run(main, DatasetConfig, choices={"tasks": TASKS})
