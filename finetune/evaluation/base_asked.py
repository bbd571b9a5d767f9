"""What the base model is told beside each question, so that it knows what the tuned model has learned from its rows."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import UserError
from finetune.evaluation.tuned_run import TunedRun
from finetune.records import files
from finetune.records.dataset import read_dataset_record, read_split
from finetune.records.files import Row
from finetune.settings.config import EvaluationConfig
from finetune.terminal import counted

_LARGEST = 1 << 20  # bytes of a system message


@dataclass(frozen=True)
class BaseAsked:
    """A system message in the place of the row's own, and rows that stand before it as earlier turns."""

    system: str | None
    examples: Sequence[Row]

    def row(self, row: Row) -> Row:
        """The row as the base model is asked it. Its own fields stay, so that it is scored as before."""
        messages = list(row["messages"])
        begin = messages[:1] if messages[0]["role"] == "system" else []
        rest = messages[len(begin) :]
        if self.system is not None:
            begin = [{"role": "system", "content": self.system}]
        turns = [turn for one in self.examples for turn in one["messages"] if turn["role"] != "system"]
        return {**row, "messages": [*begin, *turns, *rest]}


def base_asked(run: TunedRun, config: EvaluationConfig, data_dir: Path, rows: Sequence[Row]) -> BaseAsked | None:
    """What the settings say that the base model is told; None if nothing. UserError if it cannot be."""
    given = [flag for flag, value in (("--base-prompt", config.base_prompt), ("--few-shot", config.few_shot)) if value]
    if not given:
        return None
    if run.task.plain_text:
        raise UserError(f"{given[0]} has no effect with plain text, which has no questions (omit it)")
    system = _system(config.base_prompt) if config.base_prompt else None
    return BaseAsked(system, _examples(data_dir, config.few_shot, config.seed, rows) if config.few_shot else [])


def _system(path: Path) -> str:
    try:
        if not path.is_file():
            raise UserError(f"--base-prompt: {path}: no such file")
        if path.stat().st_size > _LARGEST:
            raise UserError(f"--base-prompt: {path}: larger than 1 MB (a system message is a short text)")
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UserError(f"--base-prompt: {path}: not text in UTF-8 (save it as UTF-8)") from None
    except OSError as error:
        raise UserError(f"--base-prompt: {path}: {(error.strerror or str(error)).lower()}") from None
    if not text:
        raise UserError(f"--base-prompt: {path}: no text in it (write the system message for the base model into it)")
    return text


def _examples(data_dir: Path, count: int, seed: int, rows: Sequence[Row]) -> list[Row]:
    """A random sample of the training rows, the same for all questions."""
    if any(row.get("tools") for row in rows):
        raise UserError(
            "--few-shot: these rows have tools, and each would need those of the examples (use --base-prompt)"
        )
    if not (data_dir / files.DATASET_RECORD).exists():
        raise UserError(f"--few-shot: {data_dir} is gone, and with it the training rows (name others with --data-dir)")
    found = [row for _, row in read_split(data_dir, "train", read_dataset_record(data_dir))]
    asked = {str(row["messages"][:-1]) for row in rows}
    found = [row for row in found if str(row["messages"][:-1]) not in asked]
    if len(found) < count:
        path = files.split_file(data_dir, "train")
        remedy = f"at most --few-shot {len(found)}" if found else "omit it, or use --base-prompt"
        has = f"has only {counted(len(found), 'row')}" if found else "has no row"
        raise UserError(f"--few-shot {count}: {path} {has} beside those that are asked ({remedy})")
    return random.Random(f"few-shot {seed}").sample(found, count)
