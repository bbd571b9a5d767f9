"""Earlier benchmarks: kept when a new one is written, and what changed since, beyond the range of the repeats."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from finetune.errors import UserError
from finetune.evaluation.verdict import judge
from finetune.records import files
from finetune.records.benchmark import (
    AnswersSince,
    BenchmarkRecord,
    HistoryRecord,
    ListedBenchmark,
    Repeats,
    SpeedChange,
    SpeedsSince,
)

_MAIN = ("decode_tokens_per_second", "first_token_ms")
_NEWEST = 20  # benchmarks that are listed
_BY_CHANCE = 0.01


def keep(results_dir: Path) -> None:
    """Copy the benchmark that is there into the history, named by the time it was made, in UTC.

    A copy that is there is never replaced: of several made in one second, the later ones are numbered.
    """
    path = results_dir / files.BENCHMARK
    if not path.exists():
        return
    content = path.read_bytes()
    try:
        name = f"{_instant(BenchmarkRecord.read(path).created):%Y-%m-%dT%H-%M-%SZ}"
    except ValueError:
        name = f"undated-{files.file_hash(path)[:8]}"
    folder = results_dir / files.HISTORY
    files.make_folder(folder)
    names = (f"benchmark-{name}{f'-{number}' if number > 1 else ''}.json" for number in count(1))
    kept = next(
        one
        for one in map(folder.joinpath, names)
        if not one.exists() or (one.is_file() and one.read_bytes() == content)
    )
    if not kept.exists():
        files.write_bytes(kept, content)


def since(results_dir: Path, now: BenchmarkRecord) -> HistoryRecord:
    """The earlier benchmarks in the order in which they were made, and ``now`` against the last comparable one.

    Files that cannot be read as benchmarks are skipped and named in ``left_out``.
    """
    found: list[tuple[datetime, BenchmarkRecord]] = []
    left_out: list[str] = []
    # of one second, in the order of their numbers
    for path in sorted((results_dir / files.HISTORY).glob("benchmark-*.json"), key=lambda path: (len(path.name), path)):
        try:
            record = BenchmarkRecord.read(path)
            found.append((_instant(record.created), _usable(record)))
        except (UserError, ValueError):
            left_out.append(path.name)
    earlier = [record for _, record in sorted(found, key=lambda one: one[0])]
    # the prompts decide the time to first token, the machine everything
    same_rows = [record for record in earlier if _same_rows(record, now)]
    alike = [record for record in same_rows if _same_setting(record, now)]
    made = [_listed(record, now) for record in [*earlier, now]]
    older = max(0, len(made) - _NEWEST)
    return HistoryRecord(
        made=made[older:],
        older=older,
        left_out=sorted(left_out),
        answers=next(filter(None, (_answers(record, now) for record in reversed(same_rows))), None),
        speeds=_speeds(alike[-1], now) if alike else None,
    )


def _instant(created: str) -> datetime:
    """When a benchmark was made, in UTC, which is also assumed without a zone. ValueError if it is not a time."""
    made = datetime.fromisoformat(created)
    try:
        return made.astimezone(UTC) if made.tzinfo else made.replace(tzinfo=UTC)
    except OverflowError as error:  # in the first or the last hours of all years
        raise ValueError(str(error)) from None


def _usable(record: BenchmarkRecord) -> BenchmarkRecord:
    """The record; ValueError if one of its speeds cannot have been measured."""
    speeds = [at for side in record.speed.values() for at in side.values()]
    if not all(0 < value < math.inf for at in speeds for value in (at.median, at.min, at.max)):
        raise ValueError("a speed that is not a positive number")
    if any(key not in record.speed.get("tuned", {}) for key in _MAIN):
        raise ValueError("no speeds of the tuned model")
    return record


def _same_rows(before: BenchmarkRecord, now: BenchmarkRecord) -> bool:
    def asked(record: BenchmarkRecord) -> tuple[str, Sequence[tuple[str, str]]]:
        return record.quality.task, [(row.prompt, row.reference) for row in record.quality.rows]

    return asked(before) == asked(now)


def _same_setting(before: BenchmarkRecord, now: BenchmarkRecord) -> bool:
    return (before.machine, before.device, before.model) == (now.machine, now.device, now.model)


def _listed(record: BenchmarkRecord, now: BenchmarkRecord) -> ListedBenchmark:
    tuned, speed = record.quality.tuned, record.speed["tuned"]
    return ListedBenchmark(
        created=record.created,
        adapter_path=record.adapter_path,
        same_rows=_same_rows(record, now),
        same_setting=_same_setting(record, now),
        accuracy=tuned.accuracy,
        interval=tuned.interval,
        **{key: speed[key] for key in _MAIN},
    )


def _answers(before: BenchmarkRecord, now: BenchmarkRecord) -> AnswersSince | None:
    """The tuned models of two benchmarks on the same rows; None if no row was scored both times."""
    scorers = [record.quality.scorer and record.quality.scorer.sha256 for record in (before, now)]
    if scorers[0] != scorers[1]:
        return None
    right = [
        (then.tuned.value == 1, today.tuned.value == 1)
        for then, today in zip(before.quality.rows, now.quality.rows, strict=True)
        if then.tuned.value is not None and today.tuned.value is not None
    ]
    if not right:
        return None
    then, today = ([pair[side] for pair in right] for side in (0, 1))
    verdict = judge(then, today)
    return AnswersSince(
        created=before.created,
        adapter_path=before.adapter_path,
        scored=len(right),
        then=sum(then) / len(right),
        now=sum(today) / len(right),
        verdict=verdict.verdict,
        explanation=verdict.explanation,
    )


def _speeds(before: BenchmarkRecord, now: BenchmarkRecord) -> SpeedsSince:
    """Each measure then and now; it has changed if the repeats of then and of now do not overlap."""
    # chance puts all repeats of one below all of the other this often, if nothing has changed
    enough = 2 / math.comb(before.runs + now.runs, now.runs) < _BY_CHANCE
    measures = {
        side: {
            key: SpeedChange(
                before.speed[side][key].median, today.median, enough and _apart(before.speed[side][key], today)
            )
            for key, today in found.items()
            if key in before.speed[side]
        }
        for side, found in now.speed.items()
        if side in before.speed
    }
    return SpeedsSince(before.created, before.adapter_path, (before.runs, now.runs), enough, measures)


def _apart(then: Repeats, today: Repeats) -> bool:
    return then.max < today.min or today.max < then.min
