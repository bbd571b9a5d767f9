"""The adapter folder: a run replaces, moves and removes the files that a run wrote, by their exact names, and no other."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder
from finetune.records import files
from finetune.records.run import RunRecord
from finetune.terminal import say
from finetune.training import checkpoints

PREVIOUS = "previous"
_ADAPTERS = (files.ADAPTERS, files.PEFT_ADAPTERS)
_NAMES = (files.ADAPTER_CONFIG, files.START, files.TRAINING_CONFIG, files.METRICS, files.CURVE)  # beside the adapters
_HISTORY = re.compile(rf"\d{{7,}}_({'|'.join(map(re.escape, _ADAPTERS))})")


def refuse_links(folder: Path) -> None:
    """UserError if a run in ``folder`` would write through a symbolic link."""
    files.refuse_links(folder, (files.RUN_RECORD, *_ADAPTERS, *_NAMES, *files.TOKENIZER, files.STATE, PREVIOUS))


def check(folder: Path, *, with_tokenizer: bool = False) -> None:
    """UserError if a new run in ``folder`` would replace what no run has written, or would write through a link.

    ``with_tokenizer``: the run writes one.
    """
    refuse_links(folder)
    files.refuse_links(folder / PREVIOUS, (files.RUN_RECORD, files.STATE))
    for place in (folder, folder / PREVIOUS):
        checkpoints.check(place / files.STATE)
        RunRecord.demand_replaceable(place / files.RUN_RECORD, "--adapter-path")
        of_others = [name for name in (*_ADAPTERS, *_NAMES) if (place / name).exists()]
        if of_others and not (place / files.RUN_RECORD).exists():
            raise UserError(
                f"{place / of_others[0]}: no run.json beside it, so train.py did not write it and will not replace it"
                " (move it away, or use another --adapter-path)"
            )
    others = [folder / name for name in files.TOKENIZER if (folder / name).exists()]
    if with_tokenizer and others and not _has_tokenizer(folder):
        raise UserError(
            f"{others[0]}: not written by a run that added tokens, so it will not be replaced"
            " (move it away, or use another --adapter-path)"
        )


def write_tokenizer(folder: Path, encoder: ChatEncoder) -> None:
    """Write the tokenizer of a run that added tokens, for other programs."""
    with tempfile.TemporaryDirectory() as work:
        encoder.tokenizer.save_pretrained(work)
        for name in files.TOKENIZER:
            if (path := Path(work) / name).exists():
                with files.atomic(folder / name) as temporary:
                    temporary.write_bytes(path.read_bytes())


def _has_tokenizer(folder: Path) -> bool:
    """Whether the run of the folder has written its tokenizer there."""
    path = folder / files.RUN_RECORD
    return path.exists() and bool(RunRecord.read(path).new_tokens)


def history(folder: Path, file: str) -> list[Path]:
    """Adapters of earlier validations, the oldest first; ``file`` is the name of the run's adapters."""
    return sorted(path for path in folder.glob(f"*_{file}") if _HISTORY.fullmatch(path.name))


def set_aside(folder: Path) -> None:
    """Move the files of an earlier run to ``previous``, in the place of those of the run before it.

    Whatever else lies in either folder stays there. Interrupted, it goes on the next time: the record is copied first and
    removed last, so both folders have the same one in between. A run that was killed before it saved anything is removed: it
    is not worth the run that ``previous`` holds.
    """
    record, previous = folder / files.RUN_RECORD, folder / PREVIOUS
    if not record.exists():
        return
    kept = previous / files.RUN_RECORD
    try:
        previous.mkdir(exist_ok=True)
        if not kept.exists() or kept.read_bytes() != record.read_bytes():
            if not _has_saved(folder):
                _remove(folder)
                return
            _remove(previous)
            with files.atomic(kept) as temporary:
                temporary.write_bytes(record.read_bytes())
        for path in list(_own(folder)):
            path.rename(previous / path.name)
        checkpoints.move(folder / files.STATE, previous / files.STATE)
        record.unlink()
    except OSError as error:
        raise UserError(f"{previous}: cannot be written: {error.strerror}", exit_code=4) from None
    say(f"The adapters of the earlier run are now in {previous}.")


def _has_saved(folder: Path) -> bool:
    """Whether adapters or a training state of the run are there."""
    saved = [path for name in _ADAPTERS for path in (folder / name, *history(folder, name))]
    return any(path.exists() for path in saved) or checkpoints.exist(folder / files.STATE)


def _own(folder: Path) -> Iterator[Path]:
    """What a run has written there, apart from its record and its training states."""
    names = (*_ADAPTERS, *_NAMES, *(files.TOKENIZER if _has_tokenizer(folder) else ()))
    for path in folder.iterdir():
        if path.is_file() and (path.name in names or _HISTORY.fullmatch(path.name)):
            yield path


def _remove(folder: Path) -> None:
    """Remove a whole run: its record last, because it says that the other files are a run's."""
    if not (folder / files.RUN_RECORD).exists():
        return
    checkpoints.remove_all(folder / files.STATE)
    for path in list(_own(folder)):
        path.unlink()
    with suppress(FileNotFoundError):
        (folder / files.RUN_RECORD).unlink()
