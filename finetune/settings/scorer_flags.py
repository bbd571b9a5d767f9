"""The flags of a scorer of one's own, which three of the scripts have."""

from dataclasses import dataclass
from pathlib import Path

from finetune.settings.fields import option


@dataclass(frozen=True)
class ScorerFlags:
    scorer: Path | None = option(
        None,
        "Python file that scores the answers in the place of the task: score(row, answer) -> 0 to 1, a dict of named parts, or"
        " None",
        group="a scorer of your own",
    )
    scorer_seconds: float = option(5.0, "time limit of one call of --scorer, in seconds", above=0, at_most=3600)
