"""What can be measured of long answers: in evaluation.json of conversations whose references are long. It decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Origin = Literal["invented", "other rows"]


@dataclass(frozen=True)
class FactCounts:
    """Where the facts of one kind come from, over all answers of a model."""

    said: int  # facts in the answers
    prompt: int  # of them in the row's prompt
    reference: int  # not there, but in the row's own reference
    training: int  # not there, but in several training answers
    other_rows: int  # not there, but in the training answers of single rows, whose customers' facts they are
    invented: int  # in none of these


@dataclass(frozen=True)
class DoubtfulFact:
    """A fact of an answer that neither its prompt nor its reference has, nor several training answers."""

    row: int  # place in `rows`, from 0
    kind: str  # "number", "date", "id", "link", "e-mail address" or "name"
    text: str  # as it stands in the answer
    origin: Origin  # "other rows": it is in the training answer of another row


@dataclass(frozen=True)
class SideDrafts:
    """One model's long answers."""

    length: float  # median of the length of an answer by that of its reference, in words
    opening: int  # answers that begin with one of the openings
    closing: int  # answers that end with one of the closings
    facts: Mapping[str, FactCounts]  # kind of fact -> where the facts come from
    doubtful: list[DoubtfulFact]  # those that are invented or of other rows, in the order of the rows

    def rows(self, origin: Origin) -> int:
        """How many answers have a fact of that origin."""
        return len({fact.row for fact in self.doubtful if fact.origin == origin})


@dataclass(frozen=True)
class StyleMark:
    """An opening or a closing that training answers share."""

    text: str  # NAME stands for a name
    share: float  # of the training answers, 0 to 1


@dataclass(frozen=True)
class Drafts:
    """Long answers against the training answers, their prompts and their references."""

    n: int  # rows whose references are long
    trained: int  # training answers that were read; 0: they are gone, and the references took their place
    openings: list[StyleMark]  # the most frequent first
    closings: list[StyleMark]  # the same at the end
    tuned: SideDrafts  # the tuned model
    base: SideDrafts | None = None  # the base model; null without a comparison
    no_names: str | None = None  # why names cannot be told in these texts; null if they can

    @property
    def sides(self) -> dict[str, SideDrafts]:
        return {"tuned": self.tuned} if self.base is None else {"base": self.base, "tuned": self.tuned}
