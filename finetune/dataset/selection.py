"""Which rows become train, valid and test: candidates in sampled order, checked until there are enough of them."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import repeat

from finetune.dataset import documents, preflight, splits
from finetune.dataset.candidates import Candidate
from finetune.dataset.findings import Findings
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import turns_of
from finetune.models.loss_mask import Example
from finetune.records.dataset import Turns
from finetune.records.files import SPLITS, Row
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import RowKind, WrongAnswer
from finetune.terminal import Progress

NOT_SAMPLED = "not sampled (--sample-size)"
_OTHER_ANSWER = "the same prompt with another answer"
_IN_ANOTHER_SPLIT = "the prompt is in another split too"


@dataclass
class Selection:
    """The rows taken so far. With ``own`` each stays in the source's own split, else all go to train and are divided later."""

    sizes: dict[str, int]  # rows wanted in each split
    own: bool
    kept: dict[str, list[Candidate]] = field(default_factory=lambda: {"test": [], "valid": [], "train": []})
    plain_text: bool = False  # the rows are pieces of documents
    in_ranges: bool = False  # the splits are ranges of the documents, which were too few or too long for whole ones
    lengths: list[int] = field(default_factory=list)  # tokens of each row, if the tokenizer is at hand
    turns: Turns = field(default_factory=Turns)  # of the rows
    _prompts: set[str] = field(default_factory=set)
    _splits: dict[str, str] = field(default_factory=dict)  # group -> the split that has it

    def split_of(self, candidate: Candidate) -> str:
        return (candidate.split or "train") if self.own else "train"

    @property
    def is_full(self) -> bool:
        """Whether no further row can be taken; of a source's own splits only the end of the source tells."""
        return not self.own and len(self.kept["train"]) == sum(self.sizes.values())

    def refusal(self, candidate: Candidate) -> str:
        """Why the row has no place, before it is checked; "" if it has one."""
        split = self.split_of(candidate)
        if candidate.prompt in self._prompts:
            return _OTHER_ANSWER
        if self.is_full or (self.own and len(self.kept[split]) >= self.sizes[split]):
            return NOT_SAMPLED
        if self.own and self._splits.get(candidate.group, split) != split:
            return _IN_ANOTHER_SPLIT
        return ""

    def take(self, candidate: Candidate, example: Example | None) -> None:
        """Only a row that is taken claims its prompt, and its split for prompts like it."""
        split = self.split_of(candidate)
        self._prompts.add(candidate.prompt)
        self._splits[candidate.group] = split
        self.kept[split].append(candidate)
        self.turns += turns_of(Conversation.of(candidate.row).messages, example)
        if example:
            self.lengths.append(len(example.tokens))

    def pass_over(self, candidates: Iterable[Candidate], findings: Findings) -> None:
        """Count rows that have no place; of several rows with one prompt the first stands for it."""
        for candidate in candidates:
            reason = self.refusal(candidate)
            if reason == NOT_SAMPLED:  # no finding: --strict does not refuse it
                findings.dropped[reason] += 1
            else:
                findings.drop(reason, candidate.place)
            if not self.own:
                self._prompts.add(candidate.prompt)

    def divided(self, config: DatasetConfig) -> dict[str, list[Row]]:
        """The rows of each split. A split that the source does not have is filled from its rows to train on."""
        train = self.kept["train"]
        sizes = splits.shares(len(train), config.valid_fraction, config.test_fraction)
        missing = {split: 0 if self.kept[split] else size for split, size in sizes.items()}
        parts = splits.divided(train, missing, lambda candidate: candidate.group)
        if self.plain_text and any(size and not parts[split] for split, size in missing.items()):
            self.in_ranges, parts = True, splits.ranges(documents.in_order(train), missing)
        chosen = self.kept | {split: rows for split, rows in parts.items() if missing[split] or split == "train"}
        if self.plain_text:
            return documents.apart({split: documents.in_order(chosen[split]) for split in SPLITS})
        return {split: [candidate.row for candidate in chosen[split]] for split in SPLITS}


def select(
    order: Sequence[Candidate], config: DatasetConfig, task: RowKind, encoder: ChatEncoder | None, findings: Findings
) -> Selection:
    """Take rows in the given order until there are ``--sample-size``; the slow checks see only rows that have a place.

    Of several answers to a prompt the first that passes the checks is kept.
    """
    own = config.keep_splits and any(candidate.split for candidate in order)
    selection = Selection(
        splits.shares(config.sample_size, config.valid_fraction, config.test_fraction), own, plain_text=task.plain_text
    )
    checker = task.open_checker() if task.open_checker else nullcontext(_nothing_wrong)
    examples: Iterable[Example | ValueError | None] = repeat(None)
    if encoder:
        examples = encoder.examples(Conversation.of(candidate.row) for candidate in order)
    silent = encoder is None and isinstance(checker, nullcontext)
    with checker as wrong_answer, Progress("Checking", len(order), "rows", silent=silent) as bar:
        for position, (candidate, example) in enumerate(zip(order, examples, strict=False)):
            if selection.is_full:
                selection.pass_over(order[position:], findings)
                break
            bar.advance()
            if selection.refusal(candidate):
                selection.pass_over([candidate], findings)
                continue
            wrong = wrong_answer(candidate.row)
            if wrong and wrong.keeps:
                findings.note(wrong.reason, candidate.place, wrong.detail)
                wrong = None
            if encoder and example and not wrong:
                problem = preflight.token_problem(encoder, example, config.max_seq_length, plain=task.plain_text)
                wrong = WrongAnswer(problem) if problem else None
            if wrong:
                findings.drop(wrong.reason, candidate.place, wrong.detail, wrong.remedy)
                continue
            if encoder and encoder.types_controls(Conversation.of(candidate.row)):
                findings.mend("special tokens in the text are kept as plain text", candidate.place)
            selection.take(candidate, example if isinstance(example, Example) else None)
    return selection


def _nothing_wrong(row: Row) -> WrongAnswer | None:
    return None
