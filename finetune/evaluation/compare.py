"""Base against tuned on the rows of a run: asks the models, scores the answers, keeps what was found."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.errors import Stopped, UserError
from finetune.evaluation import general
from finetune.evaluation.answer_log import AnswerLog
from finetune.evaluation.evaluate import Losses, Scored, Side, evaluate, reference_losses, result
from finetune.evaluation.tuned_run import TunedRun
from finetune.evaluation.verdict import judge, wilson_interval
from finetune.records import files
from finetune.records.files import Row
from finetune.tasks import Scorer
from finetune.terminal import Progress, say

_GENERAL_TOKENS = 32  # of an answer to a general question


def compare(
    run: TunedRun,
    rows: Sequence[Row],
    split: str,
    max_tokens: int,
    log_path: Path,
    *,
    base: bool = True,
    other: TunedRun | None = None,
    ask_general: bool = True,
    resume: bool = False,
) -> dict[str, Any]:
    """The record of evaluation.json: the tuned model's answers to the rows and, where ``base``, the base model's.

    ``other``: a run whose adapters stand in the place of the base model. ``ask_general``: general questions as well, to both.
    Answers are kept in ``log_path`` as they come, for ``resume``.
    """
    model = run.load()  # an adapter that does not fit is refused at once
    rows, max_tokens = _fitting(run, rows, max_tokens)
    if model.changes_nothing:
        say(f"Note: {run.adapter_path} changes nothing: it is as it was before the first step.")
    models = {"tuned": model}
    if other is not None:
        models["base"] = other.load()
    elif base:
        models["base"] = model.without_adapter()
    log = AnswerLog(log_path, _key(run, other, rows, split, max_tokens), resume)
    try:
        with run.task.open_scorer() as score:
            sides = {
                name: Side(
                    _answered(name, side, score, rows, max_tokens, log),
                    _losses(name, side, rows),
                )
                for name, side in models.items()
            }
        asked = {
            name: _answered(f"{name}, general", side, _score_general, _GENERAL_ROWS, _GENERAL_TOKENS, log)
            for name, side in (models.items() if ask_general else [])
        }
    except KeyboardInterrupt:
        kept = f"stopped: {log.count} answers are kept in {log_path} (go on with --resume)"
        raise Stopped(kept, signal.SIGINT) from None
    return {
        "format": 2,
        "task": run.task.name,
        "metric": run.task.metric,
        "split": split,
        "model": run.record.model.name,
        "adapter_path": str(run.adapter_path),
        "against": str(other.adapter_path) if other else None,
        "changes_nothing": model.changes_nothing,
        **result(rows, sides, run.task),
        **({"general": _general(asked)} if asked else {}),
    }


def _fitting(run: TunedRun, rows: Sequence[Row], max_tokens: int) -> tuple[list[Row], int]:
    """The rows that fit into the model's context, and the tokens that are left for an answer to the longest of them.

    UserError where the chat template refuses a row, or where no row fits.
    """
    context, fitting, room = run.encoder.context_length, [], max_tokens
    try:
        for number, (row, example) in enumerate(
            zip(rows, run.encoder.examples(row["messages"] for row in rows), strict=True), start=1
        ):
            if isinstance(example, ValueError):
                raise UserError(f"row {number} of those to be scored: {example}")
            prompt = len(run.encoder.prompt(row["messages"][:-1]))
            if context is None or max(len(example.tokens), prompt + 1) <= context:
                fitting.append(row)
                room = min(room, context - prompt) if context is not None else room
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{run.data_dir}: a row is not what dataset.py wrote: {error!r}") from None
    if not fitting:
        raise UserError(f"no row fits into the model's context of {context} tokens")
    if left_out := len(rows) - len(fitting):
        say(
            f"Note: {left_out} of {len(rows)} rows are longer than the model's context of {context} tokens and left out."
        )
    if room < max_tokens:
        say(f"Note: answers are cut at {room} tokens: the model's context has {context}.")
    return fitting, room


def _key(run: TunedRun, other: TunedRun | None, rows: Sequence[Row], split: str, max_tokens: int) -> dict[str, Any]:
    """What must be the same for answers to be gone on with."""
    return {
        "adapter": _adapter_hashes(run),
        "against": _adapter_hashes(other) if other else None,
        "model": run.record.model.fingerprint,
        "rows": files.text_hash(str([row["messages"] for row in rows])),
        "split": split,
        "max_tokens": max_tokens,
    }


def _adapter_hashes(run: TunedRun) -> list[str]:
    return [files.file_hash(run.adapter_path / name) for name in (run.backend.FORMAT.file, files.ADAPTER_CONFIG)]


def _answered(
    name: str, model: Any, score: Scorer, rows: Sequence[Row], max_tokens: int, log: AnswerLog
) -> list[Scored]:
    with Progress(f"Answers ({name})", len(rows), "rows") as bar:
        known = log.known(name)
        bar.advance(len(known))

        def on_scored(index: int, scored: Scored) -> None:
            log.add(name, index, scored)
            bar.advance()

        return evaluate(model, score, rows, max_tokens, dict(known), on_scored)


def _losses(name: str, model: Any, rows: Sequence[Row]) -> Losses:
    with Progress(f"Losses ({name})", len(rows), "rows") as bar:
        return reference_losses(model, rows, bar.advance)


_GENERAL_ROWS: list[Row] = [
    {
        "messages": [*general.messages(question), {"role": "assistant", "content": question.accepted[0]}],
        "question": question,
    }
    for question in general.QUESTIONS
]


def _score_general(row: Row, answer: str) -> Any:
    return general.score(row["question"], answer)


def _general(asked: dict[str, list[Scored]]) -> dict[str, Any]:
    """Of the general questions: how many each model got right, whether the tuned one has lost some, and all answers."""
    right = {name: [one.score.value == 1.0 for one in scored] for name, scored in asked.items()}
    n = len(general.QUESTIONS)
    record: dict[str, Any] = {"n": n}
    for name, values in right.items():
        record[name] = {"right": sum(values), "accuracy": sum(values) / n, "interval": wilson_interval(sum(values), n)}
    if "base" in right:
        verdict = judge(right["base"], right["tuned"])
        record |= {"verdict": verdict.verdict, "explanation": verdict.explanation}
    record["rows"] = [
        {"question": question.text, **{name: scored[i].record() for name, scored in asked.items()}}
        for i, question in enumerate(general.QUESTIONS)
    ]
    return record
