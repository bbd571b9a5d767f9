"""Earlier benchmarks are kept whatever they are, and compared with care."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.benchmark import history
from finetune.records.benchmark import BenchmarkRecord, HistoryRecord
from report_records import benchmark, scaled, with_value


def since(folder: Path, *earlier: BenchmarkRecord, now: BenchmarkRecord | None = None) -> HistoryRecord:
    for record in earlier:
        record.write(folder / "benchmark.json")
        history.keep(folder)
    return history.since(folder, now or benchmark())


def test_what_changed_beyond_the_range_since_the_last(tmp_path: Path) -> None:
    last = scaled(benchmark("2026-11-19"), "tuned", "decode_tokens_per_second", 0.9)
    last = with_value(scaled(last, "base", "first_token_ms", 1.01), 0, 0.0)
    found = since(tmp_path, benchmark("2026-11-18"), last)
    assert [made.created[:10] for made in found.made] == ["2026-11-18", "2026-11-19", "2026-11-20"]
    assert found.speeds and found.answers
    assert found.speeds.created == found.answers.created == "2026-11-19"
    assert [(side, measure) for side, measure, _ in found.speeds.changed] == [("tuned", "decode_tokens_per_second")]
    answers = found.answers
    assert (answers.scored, answers.then, answers.now, answers.verdict) == (4, 0.25, 0.5, "no evidence")


@pytest.mark.parametrize(
    "earlier, last",
    [
        ("2026-10-25T02:50:00+0200", "2026-10-25T02:10:00+0100"),  # 20 minutes later, after the change of clock
        ("2026-11-19T23:00:00+0900", "2026-11-19T15:30:00+0100"),  # half an hour later, in another time zone
        ("2026-11-20T01:00:00+1300", "2026-11-19T23:00:00-0800"),
        ("2026-11-19T10:00:00+0000", "2026-11-19T06:00:00-0500"),
        ("2026-11-19T12:00:00", "2026-11-19T12:30:00+0000"),  # without a zone
    ],
)
def test_benchmarks_are_ordered_by_the_instant(tmp_path: Path, earlier: str, last: str) -> None:
    for order in ((earlier, last), (last, earlier)):
        found = since(tmp_path, *(benchmark(created) for created in order))
        assert [made.created for made in found.made[:2]] == [earlier, last]
        assert found.answers and found.speeds and found.answers.created == found.speeds.created == last


def test_benchmarks_of_one_second_are_all_kept(tmp_path: Path) -> None:
    """Of one second in UTC, whatever the time zone; the last one made is the last, and a second copy changes nothing."""
    whens = ["2026-10-25T02:30:00+0200", "2026-10-25T01:30:00+0100", *["2026-10-25T00:30:00+0000"] * 10]
    earlier = [benchmark(when, adapter_path=f"run {number}") for number, when in enumerate(whens)]
    found = since(tmp_path, *earlier)
    history.keep(tmp_path)
    assert [made.adapter_path for made in found.made] == [*(f"run {number}" for number in range(12)), "checkpoints"]
    assert found.answers and found.speeds and found.answers.adapter_path == found.speeds.adapter_path == "run 11"
    numbers = ["", *(f"-{number}" for number in range(2, 13))]
    kept = {path.name for path in (tmp_path / "history").iterdir()}
    assert kept == {f"benchmark-2026-10-25T00-30-00Z{number}.json" for number in numbers}


def test_names_of_older_versions_are_read(tmp_path: Path) -> None:
    """They are in local time; the order is that of the recorded instants, also if the clock was set back in between."""
    (tmp_path / "history").mkdir()
    whens = {"09-00-00-0900": "09:00:00+0900", "01-30-00-0100": "01:30:00+0100", "23-00-00-0000": "23:00:00+0000"}
    for name, when in whens.items():
        benchmark(f"2026-11-20T{when}").write(tmp_path / "history" / f"benchmark-2026-11-20T{name}.json")
    found = since(tmp_path, benchmark("2026-11-20T00:15:00+0000"))
    times = [made.created[11:] for made in found.made]
    assert times == ["09:00:00+0900", "00:15:00+0000", "01:30:00+0100", "23:00:00+0000", "12:00:00+0000"]


@pytest.mark.parametrize("repeats, enough", [(2, False), (4, False), (5, True), (6, True)])
def test_few_repeats_show_no_change(tmp_path: Path, repeats: int, enough: bool) -> None:
    """Of two sets of n numbers from one source, one lies below the other in 2 of (2n over n) cases: 2.9 % for four."""
    last = scaled(benchmark("2026-11-19", runs=repeats), "tuned", "decode_tokens_per_second", 0.5)
    speeds = since(tmp_path, last, now=benchmark(runs=repeats)).speeds
    assert speeds and speeds.enough == enough
    assert speeds.measures["tuned"]["decode_tokens_per_second"].changed == enough


def test_what_is_not_alike_is_not_compared(tmp_path: Path) -> None:
    others = benchmark("2026-11-19")
    row, *rows = others.quality.rows
    others = replace(others, quality=replace(others.quality, rows=[replace(row, reference="SELECT 1"), *rows]))
    found = since(tmp_path, benchmark("2026-11-18", device="another"), others)
    assert found.speeds is None and found.answers and found.answers.created == "2026-11-18"
    assert [(made.same_rows, made.same_setting) for made in found.made] == [(True, False), (False, True), (True, True)]


def test_a_benchmark_without_a_time_is_kept(tmp_path: Path) -> None:
    benchmark("yesterday").write(tmp_path / "benchmark.json")
    history.keep(tmp_path)
    (kept,) = (tmp_path / "history").iterdir()
    assert (
        kept.name.startswith("benchmark-undated-") and kept.read_bytes() == (tmp_path / "benchmark.json").read_bytes()
    )


def test_what_is_no_benchmark_is_named(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "benchmark-half.json").write_text("half a reco")
    (tmp_path / "history" / ".benchmark-2026-11-16.1.tmp.json").write_text("of a killed process")
    since(tmp_path, benchmark("2026-11-19"))
    whole = json.loads((tmp_path / "history" / "benchmark-2026-11-19T00-00-00Z.json").read_text())
    speed = {"tuned": whole["speed"]["tuned"] | {"first_token_ms": {"median": "fast", "min": 1, "max": 2}}}
    nothing = {"tuned": whole["speed"]["tuned"] | {"first_token_ms": {"median": 0, "min": 0, "max": 0}}}
    for name, changes in {
        "text": {"speed": speed},
        "zero": {"speed": nothing},
        "nan": {"runs": float("nan")},
        "hollow": {"speed": {}},
        "when": {"created": "yesterday"},
        "early": {"created": "0001-01-01T00:00:00+1400"},
        "huge": {"load_seconds": 10**400},
        "newer": {"format": whole["format"] + 1},
    }.items():
        (tmp_path / "history" / f"benchmark-{name}.json").write_text(json.dumps(whole | changes))
    (tmp_path / "history" / "benchmark-list.json").write_text("[]")
    found = history.since(tmp_path, benchmark())
    names = (
        "early",
        "half",
        "hollow",
        "huge",
        "list",
        "nan",
        "newer",
        "text",
        "when",
        "zero",
    )
    assert found.left_out == [f"benchmark-{name}.json" for name in names]
    assert len(found.made) == 2 and found.answers and found.speeds


def test_the_newest_are_listed(tmp_path: Path) -> None:
    found = since(tmp_path, *(benchmark(f"2026-10-{day:02}") for day in range(1, 26)))
    assert (len(found.made), found.older, found.made[0].created) == (20, 6, "2026-10-07")
