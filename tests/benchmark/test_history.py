"""Earlier benchmarks are kept whatever they are, and compared with care."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.benchmark import history
from report_records import records

FORMAT = 2


def benchmark(created: str = "2026-11-20T12:00:00+0000") -> dict[str, Any]:
    made = records()["benchmark"] | {"created": created}
    del made["history"]
    return made


def since(folder: Path, *earlier: dict[str, Any], now: dict[str, Any] | None = None) -> dict[str, Any]:
    for record in earlier:
        (folder / "benchmark.json").write_text(json.dumps(record))
        history.keep(folder)
    return history.since(folder, now or benchmark(), FORMAT)


def scaled(record: dict[str, Any], side: str, measure: str, factor: float) -> dict[str, Any]:
    record["speed"][side][measure] = {key: factor * value for key, value in record["speed"][side][measure].items()}
    return record


def test_what_changed_beyond_the_spread_since_the_last(tmp_path: Path) -> None:
    older, last = benchmark("2026-11-18"), benchmark("2026-11-19")
    scaled(scaled(last, "tuned", "decode_tokens_per_second", 0.9), "base", "first_token_ms", 1.01)
    last["quality"]["rows"][0]["tuned"]["value"] = 0.0
    found = since(tmp_path, older, last)
    assert [made["created"][:10] for made in found["made"]] == ["2026-11-18", "2026-11-19", "2026-11-20"]
    assert found["speeds"]["created"] == found["answers"]["created"] == "2026-11-19"
    changed = {
        (side, measure)
        for side, measures in found["speeds"]["measures"].items()
        for measure, at in measures.items()
        if at["changed"]
    }
    assert changed == {("tuned", "decode_tokens_per_second")}
    answers = found["answers"]
    assert (answers["scored"], answers["then"], answers["now"], answers["verdict"]) == (4, 0.25, 0.5, "no evidence")


@pytest.mark.parametrize("repeats, enough", [(2, False), (4, False), (5, True), (6, True)])
def test_few_repeats_show_no_change(tmp_path: Path, repeats: int, enough: bool) -> None:
    """Of two sets of n numbers from one source, one lies below the other in 2 of (2n over n) cases: 2.9 % for four."""
    last = scaled(benchmark("2026-11-19"), "tuned", "decode_tokens_per_second", 0.5) | {"runs": repeats}
    speeds = since(tmp_path, last, now=benchmark() | {"runs": repeats})["speeds"]
    assert speeds["enough"] == enough
    assert speeds["measures"]["tuned"]["decode_tokens_per_second"]["changed"] == enough


def test_what_is_not_alike_is_not_compared(tmp_path: Path) -> None:
    elsewhere = benchmark("2026-11-18") | {"device": "another"}
    others = benchmark("2026-11-19")
    others["quality"]["rows"][0]["reference"] = "SELECT 1"
    found = since(tmp_path, elsewhere, others)
    assert found["speeds"] is None and found["answers"]["created"] == "2026-11-18"
    assert [(made["same_rows"], made["same_setting"]) for made in found["made"]] == [
        (True, False),
        (False, True),
        (True, True),
    ]


def test_what_is_no_benchmark_is_kept_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "benchmark.json").write_text("half a reco")
    history.keep(tmp_path)
    assert "was no record of a benchmark" in capsys.readouterr().err
    (kept,) = (tmp_path / "history").iterdir()
    assert kept.read_text() == "half a reco"
    (tmp_path / "history" / ".benchmark-2026-11-16.1.tmp.json").write_text("of a killed process")
    hollow = benchmark("2026-11-17")
    hollow["speed"]["tuned"]["first_token_ms"]["median"] = "fast"
    broken = {"format": FORMAT, "created": "2026-11-18"}
    found = since(tmp_path, hollow, broken, benchmark("2026-11-19") | {"format": FORMAT + 1})
    names = ["benchmark-2026-11-17.json", "benchmark-2026-11-18.json", "benchmark-2026-11-19.json", kept.name]
    assert found["left_out"] == names
    assert len(found["made"]) == 1 and found["answers"] is None and found["speeds"] is None


def test_the_newest_are_listed(tmp_path: Path) -> None:
    found = since(tmp_path, *(benchmark(f"2026-10-{day:02}") for day in range(1, 26)))
    assert (len(found["made"]), found["older"], found["made"][0]["created"]) == (20, 6, "2026-10-07")
