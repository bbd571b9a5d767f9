"""Rows by the million: they wait on the disk, are checked on all cores, and are sampled as a few would be."""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from finetune.dataset import checking, preview
from finetune.dataset import prepare as preparing
from finetune.dataset.prepare import Dataset, prepare
from finetune.errors import UserError
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.tasks import ROW_KINDS, words

ROOT = Path(__file__).parents[2]
_DIES = "raise SystemExit(3)"
SQL_ROW = {"sql": "SELECT COUNT(*) FROM t;", "sql_context": "CREATE TABLE t (a INT);"}


def written(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prepared(source: Path, kind: str = "chat", **options: object) -> Dataset:
    return prepare(DatasetConfig(type_=kind, dataset_name=str(source), **options), ROW_KINDS[kind], print)


def chats(first: int, count: int) -> list[Row]:
    return [{"prompt": f"Where is parcel {i}?", "completion": f"In hall {i % 7}."} for i in range(first, first + count)]


def sizes(dataset: Dataset) -> dict[str, int]:
    return {split: len(rows) for split, rows in dataset.splits.items()}


def test_all_rows_of_a_source_are_the_default(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", chats(0, 2500))
    assert sizes(prepared(source)) == {"train": 2250, "valid": 125, "test": 125}
    assert sizes(prepared(source, sample_size=2000)) == {"train": 1800, "valid": 100, "test": 100}


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (None, {"train": 60, "valid": 5, "test": 35}),
        (100, {"train": 60, "valid": 5, "test": 35}),
        (1000, {"train": 60, "valid": 5, "test": 35}),
        (99, {"train": 60, "valid": 5, "test": 34}),  # train and valid have all they can give
        (80, {"train": 60, "valid": 4, "test": 16}),
        (40, {"train": 36, "valid": 2, "test": 2}),
    ],
)
def test_own_splits_are_filled_as_far_as_there_are_rows(
    tmp_path: Path, size: int | None, wanted: dict[str, int]
) -> None:
    for name, first, count in (("train", 0, 60), ("valid", 100, 5), ("test", 200, 35)):
        written(tmp_path / "parts" / f"{name}.jsonl", chats(first, count))
    found = sizes(prepared(tmp_path / "parts", keep_splits=True, sample_size=size))
    assert found["train"] + found["valid"] + found["test"] == min(size or 100, 100)
    if size != 80:
        assert found == wanted


def test_rows_that_fail_make_room_for_others_of_the_own_splits(tmp_path: Path) -> None:
    rows = [{**SQL_ROW, "sql_prompt": f"How many, case {i}?"} for i in range(60)]
    broken = [{**row, "sql": "SELECT x FROM nowhere"} for row in rows[:20]]
    written(tmp_path / "parts" / "train.jsonl", broken + rows[20:30])
    written(tmp_path / "parts" / "test.jsonl", rows[30:])
    found = sizes(prepared(tmp_path / "parts", "sql", keep_splits=True, sample_size=50, valid_fraction=0))
    assert found == {"train": 10, "valid": 0, "test": 30}


def test_a_row_whose_sql_fails_does_not_claim_its_prompt_and_answer(tmp_path: Path) -> None:
    """The prompt shows the tables, not their rows: those of one of the two cannot be inserted."""
    rows = [{**SQL_ROW, "sql_prompt": f"How many, case {i}?"} for i in range(20)]
    failing = [{**row, "sql_context": f"{row['sql_context']} INSERT INTO t VALUES (1, 2);"} for row in rows]
    dataset = prepared(written(tmp_path / "rows.jsonl", failing + rows), "sql")
    assert sum(sizes(dataset).values()) == 20
    assert sum(dataset.findings.dropped.values()) == 20 and dataset.findings.dropped["duplicate row"] == 0


SEVERAL = [
    {"prompt": f"Where is parcel {i}?", "completion": answer} for i in range(30) for answer in ("Here.", "In hall 3.")
]
PAIRS = [
    {"prompt": f"Where is parcel {i}?", "chosen": "Here.", "rejected": answer}
    for i in range(30)
    for answer in ("No idea.", "Go away.")
]


@pytest.mark.parametrize(("kind", "rows"), [("chat", SEVERAL), ("preference", PAIRS)])
def test_several_answers_to_a_prompt_are_kept_in_one_split(tmp_path: Path, kind: str, rows: list[Row]) -> None:
    source = written(tmp_path / "rows.jsonl", rows + rows[:5])
    for options in ({}, {"same_prompt": "keep"}):
        dataset = prepared(source, kind, test_fraction=0.2, **options)
        assert sum(sizes(dataset).values()) == 60 and dataset.findings.dropped == {"duplicate row": 5}
        prompts = [{row["messages"][0]["content"] for row in part} for part in dataset.splits.values()]
        assert sum(map(len, prompts)) == 30
        assert (
            "30 prompts with several answers: all are kept, those of a prompt in one split (--same-prompt)"
            in dataset.notes
        )
    first = prepared(source, kind, same_prompt="first")
    assert sum(sizes(first).values()) == 30
    assert "30 prompts with several answers: one of each is kept (--same-prompt)" in first.notes
    again = prepared(written(tmp_path / "rows.jsonl", rows[::-1]), kind, same_prompt="first")
    assert kind == "preference" or again.splits == first.splits


def test_several_answers_can_be_refused_and_the_remedies_work(tmp_path: Path) -> None:
    source = written(tmp_path / "rows.jsonl", SEVERAL)
    with pytest.raises(UserError, match=r"30 prompts with several answers, for example of .*:1, ") as error:
        prepared(source, same_prompt="refuse")
    for mode, kept in (("keep", 60), ("first", 30)):
        assert f"--same-prompt {mode}" in str(error.value)
        assert sum(sizes(prepared(source, same_prompt=mode)).values()) == kept
    assert sum(sizes(prepared(written(tmp_path / "rows.jsonl", SEVERAL[::2]), same_prompt="refuse")).values()) == 30


def test_riscv_rows_accept_all_answers_to_their_prompt(tmp_path: Path) -> None:
    rows = [
        {"description": f"Add {i} to a0.", "instructions": answer}
        for i in range(1, 21)
        for answer in (f"addi a0, a0, {i}", f"li t0, {i}; add a0, a0, t0")
    ]
    source = written(tmp_path / "rows.jsonl", rows)
    for same_prompt, count in ((None, 20), ("first", 20), ("keep", 40)):
        dataset = prepared(source, "riscv", same_prompt=same_prompt)
        assert sum(sizes(dataset).values()) == count
        assert all(len(row["accepted"]) == 2 for part in dataset.splits.values() for row in part)


@pytest.mark.parametrize(
    "serve", [checking._SERVE, pytest.param(_DIES, marks=pytest.mark.faults)], ids=["served", "dying"]
)
def test_rows_are_checked_by_other_processes_as_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: str
) -> None:
    sql = ["SELECT %d FROM t;", "SELECT b%d FROM t;", "SELEC %d;", "SELECT now(%d);", "SELECT %d; SELECT 2;"]
    rows = [{**SQL_ROW, "sql_prompt": f"How many, case {i}?", "sql": sql[i % 5] % (i % 40)} for i in range(300)]
    source = written(tmp_path / "rows.jsonl", rows)
    here = prepared(source, "sql")
    monkeypatch.setattr(checking, "_cores", lambda: 2)
    monkeypatch.setattr(checking, "_TOGETHER", 7)
    monkeypatch.setattr(checking, "_SERVE", serve)
    asked = []
    ask = checking.Checks._ask
    monkeypatch.setattr(preparing, "FEW", 20)
    monkeypatch.setattr("finetune.dataset.selection.FEW", 20)
    monkeypatch.setattr(checking.Checks, "_ask", lambda *given: asked.append(ask(*given)) or asked[-1])
    for size in (None, 100):
        there = prepared(source, "sql", sample_size=size)
        if size is None:
            assert there.splits == here.splits
            assert there.findings.dropped == here.findings.dropped and there.findings.places == here.findings.places
            assert there.findings.details == here.findings.details
    assert asked and all((answer is None) == (serve == _DIES) for answer in asked)


def test_equal_sql_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**SQL_ROW, "sql_prompt": f"How many, case {i}?", "sql": f"SELECT {i % 3} FROM t"} for i in range(60)]
    checked = []
    kept = checking.Checks._keep
    monkeypatch.setattr(
        checking.Checks, "_keep", lambda self, found: kept(self, (found := list(found), checked.extend(found))[0])
    )
    assert sum(sizes(prepared(written(tmp_path / "rows.jsonl", rows), "sql")).values()) == 60
    assert len(checked) == 3


def test_a_source_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path / "rows.jsonl", chats(0, 30))
    read = preparing.read_candidates

    def meanwhile(*given: object) -> object:
        found = read(*given)  # type: ignore[arg-type]
        with source.open("a") as file:
            file.write(json.dumps(chats(30, 1)[0]) + "\n")
        return found

    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match=r"rows\.jsonl: changed while it was read \(run"),
    ):
        patch.setattr(preparing, "read_candidates", meanwhile)
        prepared(source)
    assert sum(sizes(prepared(source)).values()) == 31  # run again


def test_any_number_of_fields_is_counted_in_little_room(tmp_path: Path) -> None:
    wide = {**chats(0, 1)[0], **{f"field {i}": i for i in range(900)}, "x" * 10_000: 1}
    others = [{**row, f"only {i}": 1} for i, row in enumerate(chats(1, 2000))]
    dataset = prepared(written(tmp_path / "rows.jsonl", [wide, *others]))
    record = dataset.record(DatasetConfig())
    assert len(record.unused) == 1001 and sum(record.unused.values()) == 901 + 2000
    assert max(map(len, record.unused)) < 200


def test_the_median_of_lengths_is_that_of_a_list() -> None:
    draw = random.Random(3)
    for count in (1, 2, 3, 10, 11, 200):
        values = [draw.randrange(12) for _ in range(count)]
        assert preview._median({value: values.count(value) for value in values}) == statistics.median(values)


def test_the_words_of_an_ascii_text_are_those_that_any_text_has() -> None:
    draw = random.Random(4)
    texts = [
        "".join(draw.choice("aB1 _-+*/#$%&\\.,'\"~^`|<=>?!@()[]\n\t\x1f\x00") for _ in range(30)) for _ in range(3000)
    ]
    for text in texts:
        assert words.words_and_signs(text) == words._patterns()[1].findall(words.plain(text))
        assert words.plain(text) == words.plain(f"é {text}").removeprefix("é").strip()


LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20 << 20, 20 << 20))
sys.argv[0] = "dataset.py"
runpy.run_path("dataset.py", run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [{"prompt": "p", "completion": "c" * 150_000}, {"prompt": "p" * 150_000}], ids=["usable", "not usable"]
)
def test_a_full_folder_for_temporary_files_is_one_line(tmp_path: Path, row: Row) -> None:
    source = written(tmp_path / "rows.jsonl", [{**row, "prompt": f"{i} {row['prompt']}"} for i in range(400)])
    arguments = ["--type", "chat", "--dataset-name", str(source), "--output-dir", str(tmp_path / "data"), "--fix"]
    command = [sys.executable, "-c", LIMITED, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert (done.returncode, done.stdout) == (4, ""), done.stderr
    assert done.stderr.count("\n") == 1 and f"error: {tmp_path}: cannot be written: " in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


def peak(source: Path, folder: Path) -> int:
    """Kilobytes; not ru_maxrss, which is that of the process that started this one if that was larger."""
    code = (
        "import runpy, sys; sys.argv[0] = 'dataset.py'\n"
        "try: runpy.run_path('dataset.py', run_name='__main__')\n"
        "finally: print(open('/proc/self/status').read(), file=sys.stderr)"
    )
    arguments = ["--type", "chat", "--dataset-name", str(source), "--output-dir", str(folder)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.partition("VmHWM:")[2].split()[0])


@pytest.mark.faults
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_memory_is_the_same_for_any_number_of_rows(tmp_path: Path) -> None:
    found = []
    for count in (5_000, 20_000):
        rows = [{**row, "completion": row["completion"] + " x" * 4000} for row in chats(0, count)]
        found.append(peak(written(tmp_path / f"{count}.jsonl", rows), tmp_path / f"data {count}"))
    assert found[1] < 1.1 * found[0], found


@pytest.mark.faults
@pytest.mark.parametrize("moment", [0.5, 1.5, 3.0])
def test_a_killed_run_leaves_nothing(tmp_path: Path, moment: float) -> None:
    """No temporary file, no process, and no half of a file beside the rows that were there."""
    rows = [{**SQL_ROW, "sql_prompt": f"How many, case {i}?", "sql": f"SELECT {i}"} for i in range(30_000)]
    source = written(tmp_path / "rows.jsonl", rows)
    (tmp_path / "temporary").mkdir()
    command = [sys.executable, "dataset.py", "--dataset-name", str(source), "--output-dir", str(tmp_path / "data")]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary"), "PIPELINE_TEST": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    time.sleep(moment)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -9
    deadline = time.monotonic() + 20
    while (left := running(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    assert list((tmp_path / "temporary").iterdir()) == []
    data = tmp_path / "data"
    assert not data.exists() or not any(path.suffix == ".jsonl" for path in data.iterdir() if path.name[0] != ".")


def running(mark: str) -> list[str]:
    """Processes that have a text in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found
