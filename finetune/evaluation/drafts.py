"""What can be measured of long answers: length, openings and closings, and where their facts come from."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from finetune.errors import UserError
from finetune.evaluation.tuned_run import TunedRun
from finetune.models.conversation import Conversation
from finetune.models.thinking import answer_of
from finetune.records.dataset import read_dataset_record, read_split
from finetune.records.drafts import DoubtfulFact, Drafts, FactCounts, SideDrafts, StyleMark
from finetune.records.evaluation import EvaluationRecord
from finetune.records.files import Row
from finetune.tasks.chat import CHAT, SHORT, wanted_number
from finetune.tasks.draft_facts import KINDS, Fact, facts, known, names_hidden, uncapitalised
from finetune.tasks.draft_marks import Mark, closes, closings, openings, opens
from finetune.tasks.words import pieces

_SEVERAL = 2  # training answers that say a fact without having it from their prompt: it is the house's
_OFTEN = 0.02  # share of the training answers; a fact that so many have is the house's, wherever they have it from


@dataclass(frozen=True)
class Written:
    """What was written before a long answer, and the answer."""

    prompt: str
    answer: str

    @classmethod
    def of(cls, row: Row) -> "Written | None":
        """None if the row's own answer is short, a call, or ends in the number that is asked for: it is scored."""
        conversation = Conversation.of(row)
        last = conversation.messages[-1]
        answer = answer_of(last["content"])
        if last.get("tool_calls") or len(pieces(answer)) <= SHORT or wanted_number(row) is not None:
            return None
        before = [f"{message['content']} {message.get('tool_calls') or ''}" for message in conversation.prompt.messages]
        return cls("\n".join(before), answer)


def add(record: EvaluationRecord, run: TunedRun, rows: Sequence[Row]) -> EvaluationRecord:
    """The record with ``drafts``, if these are conversations and most of their references are long."""
    if record.task != CHAT.name:
        return record
    asked = {at: found for at, row in enumerate(rows) if (found := Written.of(row))}
    if not asked or 2 * len(asked) < len(rows):
        return record
    train = training_answers(run)
    return replace(record, drafts=drafts(record, asked, train))


def training_answers(run: TunedRun) -> list[Written]:
    """The long answers that the model was trained on; empty if the rows are gone or were changed."""
    try:
        data = read_dataset_record(run.data_dir)
        rows = [row for _, row in read_split(run.data_dir, "train", data)]
    except UserError:
        return []
    return [found for row in rows if row.get("messages") and (found := Written.of(row))]


def drafts(record: EvaluationRecord, asked: Mapping[int, Written], train: Sequence[Written]) -> Drafts:
    """Of the rows ``asked``, by their place in the record. Without training answers the references take their place."""
    of = train or list(asked.values())
    hidden = names_hidden(one.answer for one in of)
    house = House(of, names=hidden is None)
    texts, prompts = [one.answer for one in of], [one.prompt for one in of]
    marks = openings(texts, prompts), closings(texts, prompts)
    sides = {
        name: side_drafts({at: answer_of(record.rows[at].sides[name].answer) for at in asked}, asked, house, marks)
        for name in record.sides
    }
    begin, end = ([StyleMark(mark.text, mark.count / len(of)) for mark in some] for some in marks)
    return Drafts(len(asked), len(train), begin, end, sides["tuned"], sides.get("base"), hidden)


class House:
    """What the training answers say again and again, and what only single ones do."""

    def __init__(self, train: Iterable[Written], *, names: bool):
        self.names = names
        own, all_of, count = Counter[str](), Counter[str](), 0
        self._lower: set[str] = set()  # words that training answers write without a capital are no names
        for one in train:
            count += 1
            before = known(one.prompt)
            for fact in self.facts(one.answer):
                all_of.update(fact.keys)
                if not fact.keys & before:
                    own.update(fact.keys)
            self._lower |= uncapitalised(one.answer)
        often = max(3.0, _OFTEN * count)
        self._house = {key for key, times in all_of.items() if own[key] >= _SEVERAL or times >= often}
        self._single = set(all_of) - self._house

    def facts(self, text: str) -> list[Fact]:
        return facts(text, names=self.names)

    def says(self, fact: Fact) -> bool:
        return bool(fact.keys & self._house or fact.keys & self._lower)

    def says_once(self, fact: Fact) -> bool:
        return bool(fact.keys & self._single)


def side_drafts(
    answers: Mapping[int, str],
    asked: Mapping[int, Written],
    house: House,
    marks: tuple[Sequence[Mark], Sequence[Mark]],
) -> SideDrafts:
    """One model's ``answers``, by their row."""
    counts = {kind: Counter[str]() for kind in KINDS if house.names or kind != "name"}
    doubtful: list[DoubtfulFact] = []
    for at, answer in answers.items():
        before, reference = known(asked[at].prompt), known(asked[at].answer)
        for fact in house.facts(answer):
            origin = _origin(fact, before, reference, house)
            counts[fact.kind][origin] += 1
            if origin == "other_rows":
                doubtful.append(DoubtfulFact(at, fact.kind, fact.text, "other rows"))
            elif origin == "invented":
                doubtful.append(DoubtfulFact(at, fact.kind, fact.text, "invented"))
    return SideDrafts(
        length=median(len(pieces(answer)) / len(pieces(asked[at].answer)) for at, answer in answers.items()),
        opening=sum(any(opens(answer, mark) for mark in marks[0]) for answer in answers.values()),
        closing=sum(any(closes(answer, mark) for mark in marks[1]) for answer in answers.values()),
        facts={kind: _counts(found) for kind, found in counts.items() if found},
        doubtful=doubtful,
    )


def _origin(fact: Fact, before: set[str], reference: set[str], house: House) -> str:
    if fact.keys & before:
        return "prompt"
    if fact.keys & reference:
        return "reference"
    if house.says(fact):
        return "training"
    return "other_rows" if house.says_once(fact) else "invented"


def _counts(found: Counter[str]) -> FactCounts:
    origins = ("prompt", "reference", "training", "other_rows", "invented")
    return FactCounts(found.total(), *(found[origin] for origin in origins))
