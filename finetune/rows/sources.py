"""Rows from a local JSONL file or from the Hugging Face Hub."""

from pathlib import Path

from finetune.artifacts import Row, file_hash, read_jsonl
from finetune.cli import UserError
from finetune.hub import hub_problem

SourcedRow = tuple[str, Row]  # where the row stands ("rows.jsonl:12"), and the row


def looks_local(name: str) -> bool:
    return name.startswith((".", "/", "~")) or Path(name).suffix in (".jsonl", ".json") or Path(name).exists()


def read_local(name: str) -> tuple[list[SourcedRow], dict[str, str]]:
    """The rows of a JSONL file, and what identifies it."""
    path = Path(name).expanduser()
    rows = [(f"{path}:{line}", row) for line, row in read_jsonl(path)]
    return rows, {"source": str(path), "sha256": file_hash(path)}


def read_hub(name: str) -> tuple[list[SourcedRow], dict[str, str]]:
    """The train split of a Hub dataset, and its revision. Raises UserError where the Hub does not give it."""
    import datasets
    from huggingface_hub.errors import HfHubHTTPError

    if problem := hub_problem(name, "dataset"):
        raise UserError(f"{name}: {problem}")
    datasets.disable_progress_bars()
    try:
        table = datasets.load_dataset(name, split="train")
    except (HfHubHTTPError, datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be read from the Hub: {str(error).splitlines()[0]}") from None
    rows = [(f"{name} row {number}", dict(row)) for number, row in enumerate(table)]
    return rows, {"source": name, "fingerprint": table._fingerprint}
