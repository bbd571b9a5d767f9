"""Rows of several types in one dataset: each is scored by the task of its own type.

A row of another type than that of the dataset says so in its field ``type``.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from finetune.records.files import Row
from finetune.signals import Stop
from finetune.tasks import TASKS, tool_score
from finetune.tasks.base import RowKind, Score, Scorer, Task

TYPE = "type"


def says_other(row: Row, task: RowKind) -> bool:
    """Whether a row's field ``type`` names another task."""
    name = row.get(TYPE)
    return isinstance(name, str) and name in TASKS and name != task.name


def task_of(row: Row, task: Task) -> Task:
    """The task of a row in a dataset of ``task``."""
    return TASKS[row[TYPE]] if says_other(row, task) else task


def for_rows(task: Task, rows: Iterable[Row]) -> Task:
    """The task itself if it is that of all rows; else one that scores each row by its own task.

    What it measures beside the score, such as "execution accuracy (sql)", is the share of right answers of each type.
    """
    tasks, rows = {task.name: task}, list(rows)
    for row in rows:
        one = task_of(row, task)
        tasks[one.name] = one
    tasks = {name: _knowing_labels(_of_calls(one, task, rows), task, rows) for name, one in tasks.items()}
    if len(tasks) == 1:
        return tasks[task.name]
    metrics = {one.metric for one in tasks.values()}
    return replace(
        task,
        open_scorer=partial(_open_scorers, task, tasks),
        metric=metrics.pop() if len(metrics) == 1 else "right answers",
        malformed=frozenset().union(*(one.malformed for one in tasks.values())),
        partial={kind: reward for one in tasks.values() for kind, reward in one.partial.items()},
        loss_decides=any(one.loss_decides for one in tasks.values()),
        rows_with_form=lambda row: task_of(row, task).is_formed(row),
        measure_of=lambda row: task_of(row, task).measures([row]),
        kind_words={kind: words for one in tasks.values() for kind, words in one.kind_words.items()},
        field_table=next((one.field_table for one in tasks.values() if one.field_table), None),
        question=lambda row: task_of(row, task).question(row),
        summarised=None,
        labels=(),
    )


def _of_calls(one: Task, task: Task, rows: Iterable[Row]) -> Task:
    """One of the tasks; named by its calls if those are what is right in its rows."""
    if (
        not one.calls_tools
        or one.measures(row for row in rows if task_of(row, task).name == one.name) != tool_score.CALLS
    ):
        return one
    return replace(one, metric="right calls")


def _knowing_labels(one: Task, task: Task, rows: Iterable[Row]) -> Task:
    """One of the tasks; if its answers are labels that are not known yet, with those of its rows."""
    if not one.of_rows or one.labels:
        return one
    return one.of_rows(row for row in rows if task_of(row, task).name == one.name)


@contextmanager
def _open_scorers(task: Task, tasks: Mapping[str, Task], stop: Stop) -> Iterator[Scorer]:
    """Scores each row by its own task; a scorer is opened when its first row comes."""
    with ExitStack() as stack:
        scorers: dict[str, Scorer] = {}

        def score(row: Row, answer: str) -> Score:
            own = task_of(row, task)
            if own.name not in scorers:
                scorers[own.name] = stack.enter_context(tasks.get(own.name, own).open_scorer(stop))
            found = scorers[own.name](row, answer)
            if found.value is None:
                return found
            return replace(found, parts={**found.parts, f"{own.metric} ({own.name})": float(found.value == 1)})

        yield score
