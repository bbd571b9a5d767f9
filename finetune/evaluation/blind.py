"""``--blind N``: a person chooses between the two answers to rows of a finished evaluation, and learns which model wrote which
only at the end.

The order of the rows, and which answer is A, come from the seed. Every choice is on the disk before the next row is shown.
"""

import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import exp, fsum, lgamma, log
from pathlib import Path
from typing import Any

from rich.text import Text

from finetune.errors import Stopped, UserError, shell_command
from finetune.evaluation import scorecard
from finetune.evaluation.chat.keyboard import has_keys, read_key
from finetune.evaluation.pair_screen import asked_lines, look_alike, pair_lines, show_pages
from finetune.evaluation.verdict import mcnemar_p
from finetune.records import files, lock
from finetune.records.blind import BlindRecord, BlindResult, Choice, Judged, SideName, answers_hash, of_evaluation
from finetune.records.evaluation import EvaluationRecord, Word
from finetune.report.asked import system_of
from finetune.settings.config import EvaluationConfig
from finetune.signals import number_of
from finetune.terminal import counted, results, say, show

_SIGNIFICANT = 0.05
_CHOICES: dict[str, Choice] = {"a": "A", "b": "B", "s": "same", "1": "A", "2": "B", "3": "same"}
_WHOLE, _BACK, _STOP = ("w",), ("u", "\x7f", "\x08"), ("q", "\x04", "")
_KEYS = "Better: a, b or s (same); u back, q stop: "
_HINT = (
    "a or 1: A is better; b or 2: B is; s or 3: the same",
    "w: show the whole conversation; u: back to the last row; q: stop, all is kept",
)


def run(config: EvaluationConfig) -> None:
    """Judge ``config.blind`` rows of evaluation.json in ``config.results_dir``, or go on with it, and print what was found.

    UserError if there is no terminal, no evaluation with two sides, or nothing to choose between. Stopped after a signal.
    """
    folder = config.results_dir
    path = folder / files.BLIND
    evaluation = EvaluationRecord.read(folder / files.EVALUATION)
    done = of_evaluation(folder, evaluation)
    if done is None or done.n != config.blind:
        demand_terminal()
    files.check_targets(folder, (files.BLIND,))
    taken = f"{path}: another process is judging it (end that one, or use another --results-dir)"
    with lock.demanded(path.with_name(f".{path.name}.lock"), taken):
        record = opened(path, evaluation, config.blind or 1, config.seed)
        session = Session(evaluation, record, path)
        try:
            finished = record.result is not None or session.judge(results())
        except KeyboardInterrupt as interrupt:
            show("")
            raise Stopped(f"stopped: {session.kept}", number_of(interrupt)) from None
        if not finished:
            show(f"{session.kept}.")
            return
        record = session.finish()
    scorecard.print_comparison(evaluation, 0, record)
    show(f"Your choices: {path}")


def demand_terminal() -> None:
    """UserError if nobody could see the rows or press a key."""
    for name, stream in (("stdin", sys.stdin), ("stdout", sys.stdout)):
        if stream is None or not stream.isatty():
            raise UserError(f"--blind: {name} is not a terminal (run it in a terminal, without a pipe or redirection)")
    if not has_keys():
        raise UserError("--blind: this system has no terminals that give single keys (use macOS or Linux)")


def opened(path: Path, evaluation: EvaluationRecord, asked: int, seed: int) -> BlindRecord:
    """The record to go on with, of ``asked`` rows if there are as many. One of other answers is moved out of the way.

    UserError if it cannot be gone on with, or if no two answers differ.
    """
    if evaluation.base is None:
        raise UserError(
            f"{path.with_name(files.EVALUATION)}: the answers of one model alone: there is nothing to compare (run:"
            " python test_finetuned.py)"
        )
    BlindRecord.demand_replaceable(path, "--results-dir")
    differing = len(order(evaluation, seed))
    if not differing:
        raise UserError(f"--blind: both answers are equal on all of the {evaluation.n} rows: there is nothing to judge")
    if asked > differing:
        say(f"Note: the answers differ on {counted(differing, 'row')} only, not {asked}; all of them are shown.")
    n, found = min(asked, differing), answers_hash(evaluation)
    fresh = BlindRecord(answers_sha256=found, seed=seed, n=n, equal=evaluation.n - differing)
    if not path.exists():
        return fresh
    record = BlindRecord.read(path)
    if record.answers_sha256 != found:
        path.rename(kept := _free(path))
        say(f"Note: {path.name} was of other answers; it is now {kept}.")
        return fresh
    if record.seed != seed:
        again = shell_command("--seed", record.seed)
        raise UserError(f"--seed {seed}: {path} was begun with another one (give {again}, or move the file away)")
    if n < len(record.judged):
        raise UserError(
            f"--blind {asked}: {len(record.judged)} rows are judged already (give at least {len(record.judged)}, or move"
            f" {path} away)"
        )
    if n == record.n:
        return record
    seen = [*record.seen, record.n] if record.result else record.seen
    return replace(record, n=n, result=None, seen=seen)


def _free(path: Path) -> Path:
    number = 1
    while (kept := path.with_name(f"{path.stem}-{number}{path.suffix}")).exists():
        number += 1
    return kept


def order(evaluation: EvaluationRecord, seed: int) -> list[tuple[int, SideName]]:
    """The rows whose answers differ, in random order, each with the side that is shown as A. More rows of the same evaluation
    follow the ones before."""
    rows = list(range(len(evaluation.rows)))
    source = random.Random(seed)
    source.shuffle(rows)
    sides: list[SideName] = [source.choice(("base", "tuned")) for _ in rows]
    found = []
    for row, side in zip(rows, sides, strict=True):
        answers = [one.answer for one in evaluation.rows[row].sides.values()]
        if not look_alike(*answers):
            found.append((row, side))
    return found


class Session:
    """A person at the keyboard. ``path`` always holds what was judged so far."""

    def __init__(self, evaluation: EvaluationRecord, record: BlindRecord, path: Path):
        self.evaluation, self.record, self._path = evaluation, record, path
        self._order = order(evaluation, record.seed)[: record.n]
        self._system = ""  # the system message of the row that was shown last
        if any((one.row, one.a) != at for one, at in zip(record.judged, self._order, strict=False)):
            raise UserError(f"{path}: rows in another order than its seed gives (move it away, and begin again)")

    @property
    def kept(self) -> str:
        """How far it has come, and how to go on."""
        done = f"{len(self.record.judged)} of {counted(self.record.n, 'row')} judged"
        return f"{done}, kept in {self._path}; the same command goes on" if self.record.judged else f"{done}"

    def judge(self, console: Any) -> bool:
        """Show row after row until all are judged; False if the person stops before that."""
        if self.record.equal:
            show(f"Both answers are equal on {counted(self.record.equal, 'row')}: skipped.")
        show(f"{counted(self.record.n, 'row')} to judge, {len(self.record.judged)} done. Keys:", *_HINT)
        while True:
            if len(self.record.judged) < self.record.n:
                key = self._row(console)
            else:
                key = _pressed("All judged: u takes the last one back, any other key shows which is which: ")
                if key not in _BACK:
                    return key != ""
            if key in _STOP:
                return False
            judged = self.record.judged
            if key in _BACK and not judged:
                show("This is the first row.")
                continue
            row, side = self._order[min(len(judged), self.record.n - 1)]
            self._keep(judged[:-1] if key in _BACK else [*judged, Judged(row, side, _CHOICES[key])])

    def _row(self, console: Any) -> str:
        """Show the next row; the key that was pressed: a choice, back or stop."""
        row, side = self._order[len(self.record.judged)]
        shown = self.evaluation.rows[row]
        answers = [shown.sides["tuned"], shown.sides["base"]]
        if side == "base":
            answers.reverse()
        title = f"{len(self.record.judged) + 1} of {self.record.n}"
        what = "text to be continued" if self.evaluation.tuned.bits_per_byte is not None else "prompt"
        whole = False
        while True:
            asked = asked_lines(console, shown, what, self._system, whole=whole)
            key = self._read(console, pair_lines(console, title, asked, answers))
            if key not in _WHOLE:
                self._system = system_of(shown)
                return key
            whole = True

    def _read(self, console: Any, lines: Sequence[Text]) -> str:
        """Show the lines page by page; the key that was pressed: a choice, whole conversation, back or stop."""
        pressed = ""

        def more(left: int) -> bool:
            nonlocal pressed
            while True:
                key = _pressed(f"-- {counted(left, 'more line')}: space or enter; u back, q stop: ")
                if key in (" ", "\r", "\n"):
                    return True
                if key in (*_WHOLE, *_BACK, *_STOP):
                    pressed = key
                    return False

        if not show_pages(console, lines, more):
            return pressed
        while (key := _pressed(_KEYS)) not in (*_CHOICES, *_WHOLE, *_BACK, *_STOP):
            show(*_HINT)
        return key

    def _keep(self, judged: list[Judged]) -> None:
        self.record = replace(self.record, judged=judged)
        self.record.write(self._path)

    def finish(self) -> BlindRecord:
        """The record with its result, which is on the disk."""
        if self.record.result is None:
            self.record = replace(self.record, result=found_in(self.record.judged))
            self.record.write(self._path)
        return self.record


def _pressed(prompt: str) -> str:
    key = read_key(prompt).lower()
    named = {"\x7f": "u", "\x08": "u", "\x04": "q"}.get(key, key)
    show(named if named.isprintable() else "")
    return key


def found_in(judged: list[Judged]) -> BlindResult:
    """What the choices say: an exact sign test on the rows with a preference (Dixon and Mood 1946)."""
    preferred = [one.preferred for one in judged]
    base, tuned = preferred.count("base"), preferred.count("tuned")
    p = mcnemar_p(tuned, base)
    word: Word = "no evidence" if p >= _SIGNIFICANT else "better" if tuned > base else "worse"
    choices = [one.choice for one in judged]
    return BlindResult(
        base=base,
        tuned=tuned,
        same=preferred.count(None),
        share=tuned / (base + tuned) if base + tuned else None,
        interval=exact_interval(tuned, base + tuned),
        p=p,
        verdict=word,
        chose_a=choices.count("A"),
        chose_b=choices.count("B"),
        one_sided=mcnemar_p(choices.count("A"), choices.count("B")),
    )


def exact_interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Clopper and Pearson 1934): it leaves out one half exactly if the sign test finds p < 0.05."""

    def at_most(count: int, share: float) -> float:
        if share in (0.0, 1.0):
            return float(share == 0.0)
        # in logarithms: no float holds the number of ways to choose from a thousand
        ways = (lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) for k in range(count + 1))
        return fsum(exp(way + k * log(share) + (n - k) * log(1 - share)) for k, way in enumerate(ways))

    def share_where(count: int, probability: float) -> float:
        low, high = 0.0, 1.0  # at_most falls from 1 to 0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(count, middle) > probability else (low, middle)
        return low

    lower = share_where(right - 1, 0.975) if right else 0.0
    return lower, share_where(right, 0.025) if right < n else 1.0
