"""--blind: a person chooses between two answers without knowing whose they are, and nothing that was chosen is lost."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.errors import Stopped, UserError
from finetune.evaluation import blind, scorecard
from finetune.evaluation.pair_screen import asked_lines, pages, pair_lines
from finetune.records.blind import BlindRecord, of_evaluation
from finetune.records.evaluation import EvaluationRecord, TurnRecord
from finetune.report import render
from finetune.settings import conflicts
from finetune.settings.config import EvaluationConfig
from finetune.terminal import results
from report_records import evaluation, records
from scripts import OFFLINE, ROOT

PAIRS = [("Which one?", f"I am not sure about it, number {i}.", f"Hi Hans, it is {i}. Best, Team") for i in range(12)]
EQUAL = [("Same?", "yes  \nno", " yes\nno"), ("Same too?", "caf\u00e9", "cafe\u0301")]


def of_pairs(pairs: Sequence[tuple[str, str, str]], **changes: object) -> EvaluationRecord:
    """An evaluation with these prompts, answers of the base model, and answers of the tuned model."""
    row = evaluation(general=False).rows[0]
    rows = [
        replace(
            row,
            prompt=prompt,
            base=replace(row.tuned, answer=base, stopped=False),
            tuned=replace(row.tuned, answer=tuned),
        )
        for prompt, base, tuned in pairs
    ]
    return replace(evaluation(general=False), rows=rows, n=len(rows), worse_rows=[], **changes)


Judge = Callable[..., str]


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Judge:
    """Runs --blind in ``tmp_path`` with these keys; what was shown. "tuned" and "base" press the key of that answer."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(blind, "demand_terminal", lambda: None)

    def run(count: int, *keys: str, seed: int = 42, pairs: Sequence[tuple[str, str, str]] = (*PAIRS, *EQUAL)) -> str:
        made = of_pairs(pairs)
        made.write(tmp_path / "evaluation.json")
        left, shown = list(keys), []

        def read_key(prompt: str) -> str:
            shown.append("".join(capsys.readouterr()) + prompt)
            key = left.pop(0)
            if key == "ctrl-c":
                raise KeyboardInterrupt(2)
            if key in ("tuned", "base"):
                done = BlindRecord.read(tmp_path / "blind.json").judged if (tmp_path / "blind.json").exists() else []
                _, side = blind.order(made, seed)[len(done)]
                return "a" if side == key else "b"
            return key

        monkeypatch.setattr(blind, "read_key", read_key)
        try:
            blind.run(EvaluationConfig(blind=count, seed=seed, results_dir=tmp_path))
        finally:
            shown.append("".join(capsys.readouterr()))
        assert not left
        return "".join(shown)

    return run


def test_the_choice_is_of_the_answer_and_not_of_its_side(judge: Judge, tmp_path: Path) -> None:
    said = judge(12, *["tuned"] * 9, "base", "s", "tuned", " ")
    found = BlindRecord.read(tmp_path / "blind.json")
    assert found.result and (found.result.tuned, found.result.base, found.result.same, found.equal) == (10, 1, 1, 2)
    assert {one.a for one in found.judged} == {"base", "tuned"}  # or a habit would look like a preference
    assert found.result.p == pytest.approx(2 * 12 / 2**11) and found.result.verdict == "better"
    assert found.result.interval == pytest.approx((0.58722, 0.99770), abs=1e-4)  # R: binom.test(10, 11)
    (same,) = (one.row + 1 for one in found.judged if one.choice == "same")
    assert f"Rows, the same: {same}." in said and "preferred (blind)" in said and "1 of 11" in said
    assert "better on 10 of 11 rows" in " ".join(said.split()) and "p = 0.012" in said


def test_nothing_tells_which_is_which_before_the_end(judge: Judge) -> None:
    with pytest.raises(IndexError):  # no key is left at the end
        judge(5, *"abs1", "2")
    said = judge(5, "x")
    before, _, after = said.partition("shows which is which")
    assert not re.search("base|tuned|checkpoints", before) and "base" in after


def test_what_was_judged_is_kept_and_the_same_command_goes_on(judge: Judge, tmp_path: Path) -> None:
    with pytest.raises(Stopped, match=r"2 of 6 rows judged, kept in .*blind.json; the same command goes on") as stopped:
        judge(6, "tuned", "base", "ctrl-c")
    assert stopped.value.exit_code == 130
    first = BlindRecord.read(tmp_path / "blind.json").judged
    said = judge(6, "tuned", "u", "base", "s", "q")
    assert "6 rows to judge, 2 done" in said and "4 of 6 rows judged" in said and "Judged blind" not in said
    said = judge(6, "tuned", "tuned", "u", "base", " ")
    found = BlindRecord.read(tmp_path / "blind.json")
    assert found.judged[:2] == first and len({one.row for one in found.judged}) == 6
    assert [one.preferred for one in found.judged] == ["tuned", "base", "base", None, "tuned", "base"]
    again = judge(6)  # shown again, without a key
    assert said.partition("Judged blind")[2] == again.partition("Judged blind")[2] != ""
    more = judge(8, "tuned", "tuned", "x")
    assert BlindRecord.read(tmp_path / "blind.json").judged[:6] == found.judged
    assert "seen after 6 rows already" in more


def test_undo_at_the_first_row_and_other_keys_judge_nothing(judge: Judge, tmp_path: Path) -> None:
    said = judge(3, "u", "x", "\x1b[A", "ab", "7", "q")
    assert "This is the first row." in said and not (tmp_path / "blind.json").exists()


def test_choices_of_other_answers_are_moved_away_and_not_shown(judge: Judge, tmp_path: Path) -> None:
    judge(3, *"abs", "x")
    other = [(prompt, base, tuned + "!") for prompt, base, tuned in PAIRS]
    assert of_evaluation(tmp_path, of_pairs(other)) is None
    said = judge(3, "q", pairs=other)
    assert "blind.json was of other answers; it is now" in said and (tmp_path / "blind-1.json").exists()


def test_what_cannot_be_judged_is_refused_and_the_remedy_works(judge: Judge, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="equal on all of the 2 rows"):
        judge(3, pairs=EQUAL)
    assert "differ on 12 rows only, not 40" in judge(40, *"ab", "q")
    with pytest.raises(UserError, match=r"2 rows are judged already .*at least 2"):
        judge(1)
    with pytest.raises(UserError, match=r"begun with another one \(give --seed 42"):
        judge(5, seed=7)
    assert "5 rows to judge, 2 done" in judge(5, "q", seed=42)
    (tmp_path / "blind.json").write_text('{"mine": 1}')
    with pytest.raises(UserError, match="will not be replaced"):
        judge(5)
    (tmp_path / "evaluation.json").unlink()
    with pytest.raises(UserError, match=r"not found \(run: python test_finetuned.py"):
        blind.run(EvaluationConfig(blind=5, results_dir=tmp_path))


def test_without_a_terminal_it_is_refused_and_flags_of_the_models_have_no_effect() -> None:
    with pytest.raises(UserError, match=r"--blind: std(in|out) is not a terminal"):
        blind.demand_terminal()
    config = EvaluationConfig(blind=5, max_tokens=9, origins={"blind": "flag", "max_tokens": "flag"})
    with pytest.raises(UserError, match="--max-tokens has no effect with --blind"):
        conflicts.check(config)


def test_a_habit_of_one_side_is_told(judge: Judge) -> None:
    said = judge(12, *"a" * 12, "x")
    assert "You chose A 12 times and B 0 times." in said


LONG = "\n".join(f"line {number}" for number in range(90))
WIDE = "荷物は明日届く予定です。" * 40
ARABIC = "طردك في الطريق إليك وسيصل غدا إن شاء الله."


@pytest.mark.parametrize("columns", [60, 120])
@pytest.mark.parametrize("answer", [LONG, WIDE, ARABIC, "x" * 700, "a\x1b[2Jb\ttab \u202eover", "", "👩‍👩‍👧 " * 60])
def test_nothing_of_an_answer_is_cut_off(columns: int, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    row = of_pairs([("p", answer, "short")]).rows[0]
    console = results()
    lines = pair_lines(console, "1 of 9", asked_lines(console, row, "prompt"), list(row.sides.values()))
    assert all(line.cell_len <= columns for line in lines)
    assert all(len(page) <= 22 for page in pages(console, lines)) and sum(map(len, pages(console, lines))) == len(lines)
    beside = any("│" in line.plain for line in lines)
    assert beside == (columns == 120 and answer != ARABIC)  # such a terminal would exchange the columns
    left = "".join(line.plain.partition("│")[0] for line in lines)
    kept = re.sub(r"\s", "", answer.replace("\x1b", "␛").replace("\u202e", "␦"))
    assert kept in re.sub(r"\s", "", left)


def test_the_page_and_the_table_show_it_with_these_answers_alone(tmp_path: Path, judge: Judge) -> None:
    made = records()
    quality = made["benchmark"].quality
    rows = [replace(row, tuned=replace(row.tuned, answer=f"other {i}")) for i, row in enumerate(quality.rows)]
    quality = replace(quality, rows=rows)
    record = blind.opened(tmp_path / "blind.json", quality, 5, 42)
    judged = [blind.Judged(row, side, "A") for row, side in blind.order(quality, 42)]
    record = replace(record, judged=judged, result=blind.found_in(judged))
    given = made | {"benchmark": replace(made["benchmark"], quality=quality)}
    html = render(**given, blind=record)
    assert "Judged blind by a person" in html and "preferred (blind)" in html
    assert "Judged blind" not in render(**given)
    record.write(tmp_path / "blind.json")
    assert of_evaluation(tmp_path, quality) == record and of_evaluation(tmp_path, made["benchmark"].quality) is None
    unfinished = replace(record, result=None)
    unfinished.write(tmp_path / "blind.json")
    assert of_evaluation(tmp_path, quality) is None


def test_of_a_thousand_choices_the_interval_is_still_a_number() -> None:
    assert blind.exact_interval(600, 1200) == pytest.approx((0.4713, 0.5287), abs=1e-3)
    assert blind.exact_interval(0, 0) == (0.0, 1.0) and blind.exact_interval(5, 5)[0] == pytest.approx(0.4782, abs=1e-4)


@pytest.mark.scripts
def test_at_a_terminal_a_kill_loses_nothing_and_no_model_is_needed(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    of_pairs(PAIRS).write(tmp_path / "results" / "evaluation.json")
    written = keys(tmp_path, ["a", "kill"])
    assert json.loads((tmp_path / "results" / "blind.json").read_text())["judged"][0]["choice"] == "A"
    written = keys(tmp_path, ["b", "s", "a", "x"])
    assert "4 rows to judge, 1 done" in written and "Judged blind by a person" in written
    assert [one["choice"] for one in json.loads((tmp_path / "results" / "blind.json").read_text())["judged"]] == [
        *("A", "B", "same", "A")
    ]


def keys(folder: Path, pressed: list[str]) -> str:
    """What ``--blind 4`` writes to a terminal at which a key is pressed at each prompt."""
    process, screen = pty.fork()
    if process == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        os.chdir(folder)
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        command = [sys.executable, str(ROOT / "test_finetuned.py"), "--blind", "4"]
        os.execve(sys.executable, command, kept | OFFLINE | {"TERM": "xterm"})
    written, end = b"", time.monotonic() + 60
    seen = 0
    while time.monotonic() < end:
        if not select.select([screen], [], [], 0.2)[0]:
            continue
        try:
            read = os.read(screen, 4096)
        except OSError:  # Linux: the other side is closed
            break
        if not read:
            break
        written += read
        if pressed and re.search(rb"(stop|which is which): $", written[seen:]):
            seen = len(written)
            if (key := pressed.pop(0)) == "kill":
                os.kill(process, 9)
            else:
                os.write(screen, key.encode())
    os.close(screen)
    _, status = os.waitpid(process, 0)
    assert not pressed and os.waitstatus_to_exitcode(status) in (0, -9), written
    return written.decode()


def test_the_table_of_an_evaluation_without_choices_has_no_such_line(capsys: pytest.CaptureFixture[str]) -> None:
    scorecard.print_comparison(of_pairs(PAIRS), 0)
    assert "blind" not in capsys.readouterr().out


HISTORY = [
    TurnRecord("system", "Be kind.\nYou are Northwind's support."),
    TurnRecord("user", "\n".join(f"earlier line {number}" for number in range(60))),
    TurnRecord("assistant", "Which order is it?"),
]


def test_the_conversation_before_the_prompt_is_shown_and_what_is_cut_can_be_seen(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "24")
    made = of_pairs(PAIRS)
    rows = [replace(row, before=HISTORY, after=[TurnRecord("tool", '{"state": "lost"}')]) for row in made.rows]
    monkeypatch.setattr(f"{__name__}.of_pairs", lambda pairs: replace(made, rows=rows))
    said = judge(2, " ", "a", " ", "w", *" " * 9, "w", *" " * 4, "q")
    first, second, whole = said.split("of 2 ──")[1:4]
    assert first.index("Northwind") < first.index("line 59") < first.index("Which order") < first.index("Which one?")
    assert first.index("Which one?") < first.index('{"state": "lost"}') < first.index("Hi Hans")
    cut = re.search(r"\[(\d+) earlier lines not shown; w shows the whole conversation\]", first)
    assert cut and f"earlier line {int(cut[1]) - 1}" in first and f"earlier line {int(cut[1]) - 2}\n" not in first
    assert "Northwind" not in second and "the same as in the row before; w shows it" in second
    assert "Northwind" in whole and all(f"earlier line {number}\n" in whole for number in range(60))
