"""Which rows become train, valid and test: candidates in sampled order, checked until there are enough of them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from finetune.dataset import dividing, mixture, preflight, splits
from finetune.dataset.checking import FEW, Checks
from finetune.dataset.dividing import Divided
from finetune.dataset.findings import Findings
from finetune.dataset.mixture import Part
from finetune.dataset.store import Store
from finetune.dataset.stored import Stored, Taken
from finetune.errors import UserError
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import turns_of
from finetune.models.loss_mask import Example
from finetune.records.files import Row, encoded
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import RowKind, WrongAnswer
from finetune.terminal import Progress, counted

NOT_SAMPLED = "not sampled (--sample-size)"
_BEYOND_SHARE = "not sampled (more than the share of their source)"
_DUPLICATE = "duplicate row"
_OTHER_ANSWER = "the same prompt with another answer"
_CONTRADICTION = "the same text with another label (--same-prompt first or keep keeps it)"
_ACCEPTED = "another answer to a prompt, accepted as well"
_IN_ANOTHER_SPLIT = "the prompt is in another split too"
_ALIKE_IN_ANOTHER_SPLIT = "the prompt, or the field of --split-by, is in another split too"
_LEARNING_ORDER = ("train", "valid", "test")


@dataclass
class Limits:
    """How many rows are taken. None: all."""

    rows: int | None  # in all
    of_split: Mapping[str, int] | None = None  # of each split of the sources' own, while there are enough of the others
    source: int | None = None  # the one that is meant; None: all of them


@dataclass(frozen=True)
class Shares:
    """The sources, and the share of each in the rows; None: all rows of all."""

    parts: Sequence[Part]
    fractions: Sequence[float] | None = None


@dataclass
class Selection:
    """Takes rows in sampled order. Only a row that is taken claims its prompt, and its split for prompts like it."""

    store: Store
    config: DatasetConfig
    tasks: Sequence[RowKind]  # of each source
    encoder: ChatEncoder | None
    findings: Findings
    checks: Mapping[str, Checks]  # by task
    taken: Counter[tuple[int, str]] = field(default_factory=Counter)  # rows of each source and split of its own
    divided: Divided = field(default_factory=Divided)

    @property
    def own(self) -> bool:
        return bool(self.store.splits)

    def refusal(self, row: Stored, limits: Limits) -> str:
        """Why the row has no place, before it is checked; "" if it has one."""
        if self.store.was_seen(row):
            return _DUPLICATE
        if _mode(self.tasks[row.source], self.config) == "first" and self.store.is_claimed(row.prompt):
            return _ACCEPTED if self.tasks[row.source].several_answers else _OTHER_ANSWER
        split = row.split or "train"
        if limits.rows is not None and self.count(limits.source) >= limits.rows:
            return NOT_SAMPLED
        if limits.of_split is not None and self.count(limits.source, split) >= limits.of_split[split]:
            return NOT_SAMPLED
        if self.own and (self.store.claimed(row.likeness) or split) != split:
            return _ALIKE_IN_ANOTHER_SPLIT if self.config.split_by else _IN_ANOTHER_SPLIT
        return ""

    def count(self, source: int | None = None, split: str | None = None) -> int:
        """How many rows were taken, of one source or split if it is given."""
        return sum(
            count for (one, part), count in self.taken.items() if source in (None, one) and split in (None, part)
        )

    def fill(self, size: int | None, bar: Progress, source: int | None = None) -> None:
        """Take so many rows, of one source if it is given; None: all."""
        limits = Limits(size, source=source)
        if size is not None and self.own:
            # each split gets its share, and what one has not, the others may have
            shares = splits.shares(size, self.config.valid_fraction, self.config.test_fraction)
            self.sweep(Limits(size, shares, source), bar)
            for split in _LEARNING_ORDER:
                self.sweep(limits, bar, split)
        else:
            self.sweep(limits, bar)

    def sweep(self, limits: Limits, bar: Progress, split: str | None = None) -> None:
        """Examine the waiting rows, or those of one split of the source's own, until there are enough."""
        rows = self.store.waiting(source=limits.source, split=split)
        while rows and (limits.rows is None or self.count(limits.source) < limits.rows):
            following = self.store.waiting(after=rows[-1].at, source=limits.source, split=split)
            self._start_checks(following)
            self._examine(rows, limits)
            bar.advance(len(rows))
            rows = following

    def _start_checks(self, rows: Sequence[Stored]) -> None:
        if self.checks and self.store.count >= FEW:
            for row in rows:
                if checks := self.checks.get(self.tasks[row.source].name):
                    checks.start(json.loads(row.text))
            for checks in self.checks.values():
                checks.flush()

    def _examine(self, rows: Sequence[Stored], limits: Limits) -> None:
        taken, dropped, remarks = list[Taken](), list[int](), dict[int, WrongAnswer]()
        for row, examples in self._encoded(self._right(rows, limits, dropped, remarks)):
            if self.encoder and examples:
                if reason := self.refusal(row, limits):  # by now: a row before it was taken
                    self._refuse(row, reason, dropped)
                    continue
                plain = self.tasks[row.source].plain_text
                if problem := preflight.token_problem(self.encoder, examples, self.config.max_seq_length, plain=plain):
                    self.findings.drop(problem, row.place)
                    dropped.append(row.at)
                    continue
                if self.encoder.types_controls(Conversation.of(json.loads(row.text))):
                    self.findings.mend("special tokens in the text are kept as plain text", row.place)
            if remark := remarks.get(row.at):
                self.findings.note(remark.reason, row.place, remark.detail)
            taken.append(self._take(row, examples if isinstance(examples, list) else None))
        self.store.decide(taken, dropped)

    def _right(
        self, rows: Sequence[Stored], limits: Limits, dropped: list[int], remarks: dict[int, WrongAnswer]
    ) -> Iterator[Stored]:
        """The rows that have a place as far as is known, and whose own answers are right; ``remarks``: by their position."""
        for row in rows:
            if reason := self.refusal(row, limits):
                self._refuse(row, reason, dropped)
                continue
            checks = self.checks.get(self.tasks[row.source].name)
            wrong = checks.wrong(json.loads(row.text)) if checks else None
            if wrong and not wrong.keeps:
                self.findings.drop(wrong.reason, row.place, wrong.detail, wrong.remedy)
                dropped.append(row.at)
                continue
            if wrong:
                remarks[row.at] = wrong
            yield row

    def _encoded(self, rows: Iterable[Stored]) -> Iterator[tuple[Stored, list[Example] | ValueError | None]]:
        if self.encoder is None:
            yield from ((row, None) for row in rows)
            return
        rows = list(rows)
        examples = self.encoder.examples(Conversation.of(json.loads(row.text)) for row in rows)
        yield from zip(rows, examples, strict=True)

    def _refuse(self, row: Stored, reason: str, dropped: list[int]) -> None:
        if reason == NOT_SAMPLED:  # it may have a place later
            return
        self.findings.drop(reason, row.place)
        dropped.append(row.at)
        if reason not in (_IN_ANOTHER_SPLIT, _ALIKE_IN_ANOTHER_SPLIT):
            self.store.note(row, taken=False)

    def _take(self, row: Stored, examples: list[Example] | None) -> Taken:
        split = row.split or "train"
        self.store.note(row, taken=True)
        self.taken[row.source, split] += 1
        if self.own:
            self.store.claim(row.likeness, split)
        content = json.loads(row.text)
        if self.tasks[row.source].several_answers:
            self.store.replace_text(row.at, encoded(self._with_all_answers(content, row.prompt)))
        turns = turns_of(Conversation.of(content).messages, examples)
        tokens = max(len(example.tokens) for example in examples) if examples else None
        return Taken(tokens, turns.assistant, turns.learned, turns.context, turns.rewritten, row.at)

    def _with_all_answers(self, row: Row, prompt: bytes) -> Row:
        """The row with the answers of all rows with its prompt, the first its own."""
        accepted: list[str] = list(row.get("accepted", ()))
        accepted.append(row["messages"][-1]["content"])
        for other in map(json.loads, self.store.texts_with_prompt(prompt)):
            accepted += [other["messages"][-1]["content"], *other.get("accepted", ())]
        return {**row, "accepted": list(dict.fromkeys(accepted))}

    def trim(self, quotas: Sequence[int]) -> None:
        """Keep so many of the rows taken of each source; if it has its own splits, the rest of each goes."""
        for source, quota in enumerate(quotas):
            has = {split: self.count(source, split) for split in _LEARNING_ORDER}
            shares = splits.shares(quota, self.config.valid_fraction, self.config.test_fraction)
            keep = splits.filled(has, shares, quota)
            for split, count in keep.items():
                self.findings.dropped[_BEYOND_SHARE] += self.store.trim(source, split, count)
                self.taken[source, split] = count
        self.findings.dropped = +self.findings.dropped

    def pass_over(self) -> None:
        """Count the rows that have no place; of several rows with one prompt the first stands for it."""
        limits = Limits(0)
        rows = self.store.waiting(bodies=False)
        while rows:
            for row in rows:
                reason = self.refusal(row, limits)
                if reason == NOT_SAMPLED:  # no finding: --strict does not refuse it
                    self.findings.dropped[reason] += 1
                    self.store.note(row, taken=not self.own)
                else:
                    self.findings.drop(reason, row.place)
            rows = self.store.waiting(after=rows[-1].at, bodies=False)


def select(
    store: Store,
    config: DatasetConfig,
    tasks: Sequence[RowKind],
    encoder: ChatEncoder | None,
    findings: Findings,
    checks: Mapping[str, Checks],
    shares: Shares,
) -> Selection:
    """Take rows in sampled order until there are ``--sample-size``, and divide them; the slow checks see only rows that have a
    place.

    Of several answers to a prompt of which one is kept, it is the first that passes the checks. UserError if a source has fewer
    rows than its share.
    """
    selection = Selection(store, config, tasks, encoder, findings, checks)
    fractions, size = shares.fractions, config.sample_size
    sources = range(len(tasks))
    for source in (source for source in sources if _mode(tasks[source], config) == "drop"):
        for place in store.drop_contradictions(source):
            findings.drop(_CONTRADICTION, place)
    with Progress("Checking", store.count, "rows", silent=encoder is None and not checks) as bar:
        if fractions is None:
            selection.fill(size if size is not None and size < store.count else None, bar)
        elif size is None:
            selection.fill(None, bar)
            has = [selection.count(source) for source in sources]
            total = mixture.largest_total(fractions, has)
            mixture.demand_enough(shares.parts, fractions, has, total)
            selection.trim(mixture.quotas(fractions, total))
        else:
            for source, quota in enumerate(mixture.quotas(fractions, size)):
                selection.fill(quota, bar, source)
            has = [selection.count(source) for source in sources]
            mixture.demand_enough(shares.parts, fractions, has, size)
    selection.pass_over()
    selection.divided = dividing.divide(store, tasks, config)
    return selection


def several_answers(store: Store, config: DatasetConfig, tasks: Sequence[RowKind]) -> list[str]:
    """How many prompts have several answers, and what becomes of them, in a line; none if there are none.

    UserError with --same-prompt refuse.
    """
    count, places = store.prompts_with_several_answers(3)
    if not count:
        return []
    found = f"{counted(count, 'prompt')} with several answers"
    if config.same_prompt == "refuse":
        remedy = "--same-prompt keep keeps all, --same-prompt first one of each"
        raise UserError(f"--same-prompt refuse: {found}, for example of {', '.join(places)} ({remedy})")
    modes = {_mode(task, config) for task in tasks}
    some = "all are kept" if config.sample_size is None else "all can be sampled"
    kept = {"keep": f"{some}, those of a prompt in one split", "first": "one of each is kept", "drop": "none is kept"}
    others = {task.name: _mode(task, config) for task in tasks if _mode(task, config) != "keep"}
    of_others = (f"of {name} rows {kept[mode]}" for name, mode in others.items())
    what = kept[modes.pop()] if len(modes) == 1 else "; ".join([kept["keep"], *of_others])
    return [f"{found}: {what} (--same-prompt)"]


def _mode(task: RowKind, config: DatasetConfig) -> str:
    """What becomes of several answers to a prompt: ``keep``, ``first``, or ``drop`` if only one can be right. None is lost to a
    task that accepts several."""
    return config.same_prompt or ("first" if task.several_answers else "drop" if task.one_answer else "keep")
