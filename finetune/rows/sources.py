"""Rows from a local JSONL file or from the Hugging Face Hub."""

from pathlib import Path

from finetune.artifacts import Row, file_hash, read_jsonl
from finetune.cli import UserError, first_line
from finetune.hub import download_snapshot

SourcedRow = tuple[str, Row]  # where the row stands ("rows.jsonl:12"), and the row


def looks_local(name: str) -> bool:
    return name.startswith((".", "/", "~")) or Path(name).suffix in (".jsonl", ".json") or Path(name).exists()


def read_local(name: str) -> tuple[list[SourcedRow], dict[str, str]]:
    """The rows of a JSONL file, and what identifies it."""
    path = Path(name).expanduser()
    rows = [(f"{path}:{line}", row) for line, row in read_jsonl(path)]
    return rows, {"source": str(path), "sha256": file_hash(path)}


def read_hub(name: str) -> tuple[list[SourcedRow], dict[str, str]]:
    """The train split of a Hub dataset, and its commit. Raises UserError where the Hub does not give it."""
    import datasets

    folder = download_snapshot(name, "dataset")  # a complete copy in the Hub's cache serves where there is no network
    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(str(folder), split="train")
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise UserError(f"{name}: its files cannot be read as rows: {first_line(error)}") from None
    plain = [column for column, feature in table.features.items() if _is_plain(feature)]
    rows = [(f"{name} row {number}", dict(row)) for number, row in enumerate(table.select_columns(plain))]
    return rows, {"source": name, "revision": folder.name}


def _is_plain(feature: object) -> bool:
    """Text, numbers and lists of them: no task needs images, sounds or timestamps, and JSON has none."""
    import datasets

    if isinstance(feature, datasets.Value):
        return feature.dtype in ("string", "large_string", "bool") or feature.dtype.startswith(("int", "uint", "float"))
    if isinstance(feature, dict):
        return all(_is_plain(part) for part in feature.values())
    return isinstance(feature, datasets.List) and _is_plain(feature.feature)
