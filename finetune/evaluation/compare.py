"""Base against tuned on the rows of a run: asks the models, scores the answers, keeps what was found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from finetune.backends.interface import Model
from finetune.errors import Stopped, UserError
from finetune.evaluation import by_grammar, drafts, general, restricted
from finetune.evaluation.answer_log import AnswerLog
from finetune.evaluation.base_asked import BaseAsked
from finetune.evaluation.evaluate import Losses, Scored, Side, Subject, evaluate, reference_losses, result
from finetune.evaluation.tuned_run import TunedRun
from finetune.evaluation.verdict import judge, wilson_interval
from finetune.models.constraint import Restrict
from finetune.models.conversation import Conversation
from finetune.records import files
from finetune.records.evaluation import EvaluationRecord, GeneralRecord, GeneralRow, GeneralSide, ScorerRecord
from finetune.records.files import Row
from finetune.records.times import Times
from finetune.signals import never, number_of
from finetune.tasks import Score, Scorer, Task
from finetune.tasks.mixed import for_rows
from finetune.tasks.own_scorer import described, with_scorer
from finetune.terminal import Progress, counted, say

_GENERAL_TOKENS = 32  # of an answer to a general question


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is to be compared, on which rows."""

    run: TunedRun
    rows: Sequence[Row]
    split: str  # the one that the rows are of
    max_tokens: int  # of an answer
    log: Path  # answers are kept here as they come, to resume from
    resume: bool = False  # take the answers in ``log``
    base: bool = True  # ask the base model as well
    other: TunedRun | None = None  # ask these adapters in the place of the base model
    general: bool = True  # ask the general questions as well
    restrict: bool = False  # also let each model answer with one of the labels only
    valid: Sequence[Row] = ()  # rows to calibrate the confidence of these answers on
    by_form: Callable[[Sequence[Row]], Restrict] | None = None  # also let each answer only what these rows say
    scorer: Path | None = None  # scores the answers in the place of the task
    scorer_seconds: float = 5.0  # for one answer
    base_asked: BaseAsked | None = None  # what the base model is told beside the questions
    times: Times = field(default_factory=Times)  # is told how long the parts take

    def as_asked(self, name: str, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows as a side is asked them."""
        return [self.base_asked.row(row) for row in rows] if self.base_asked and name == "base" else rows


def compare(asked: Comparison) -> EvaluationRecord:
    """Both models' answers to the rows, their scores and the verdict.

    UserError if the adapters do not fit, no row fits the context, or there is nothing to resume. Stopped after a signal.
    """
    run, other = asked.run, asked.other
    model = run.load()  # an adapter that does not fit is refused at once
    rows, max_tokens = _fitting(run, asked.rows, asked.max_tokens, asked.base_asked)
    if model.changes_nothing:
        say(f"Note: the adapters in {run.adapter_path} change nothing: they are untrained.")
    # only a model that was trained on plain text can do without a chat template
    asks_general = asked.general and not (run.task.plain_text and not run.encoder.template)
    if asked.general and not asks_general:
        say("Note: the model has no chat template, so it is asked no general questions.")
    models = _sides(asked, model)
    task, scorer = with_scorer(for_rows(run.task, rows), asked.scorer, asked.scorer_seconds), described(asked.scorer)
    asked.times.rest("loading")
    with AnswerLog(asked.log, _key(asked, rows, max_tokens, scorer), resume=asked.resume) as log:
        try:
            with task.open_scorer(never) as score:
                sides = {
                    name: Side(
                        _answered(asked, name, side, score, asks, max_tokens, log), _losses(asked, name, side, asks)
                    )
                    for name, side in models.items()
                    if (asks := asked.as_asked(name, rows))
                }
                formed = _formed(asked, models, score, rows, max_tokens, log)
            answers = {
                name: _answered(asked, f"{name}, general", side, _score_general, _GENERAL_ROWS, _GENERAL_TOKENS, log)
                for name, side in (models.items() if asks_general else [])
            }
        except KeyboardInterrupt as interrupt:
            kept = f"stopped: {counted(log.count, 'answer')} kept in {asked.log} (resume with --resume)"
            raise Stopped(kept, number_of(interrupt)) from None
    subject = Subject(
        task,
        asked.split,
        run.record.model.name,
        str(run.adapter_path),
        against=str(other.adapter_path) if other else None,
        scorer=scorer,
        base_prompt=asked.base_asked.system if asked.base_asked else None,
        few_shot=len(asked.base_asked.examples) or None if asked.base_asked else None,
        changes_nothing=model.changes_nothing,
        answering=model.answering or None,
    )
    record = result(subject, rows, sides, _general(answers) if answers else None)
    record = drafts.add(_with_tables(record, task, rows, sides), run, rows)
    if formed:
        return by_grammar.add(record, {name: side.scored for name, side in sides.items()}, formed)
    if not asked.restrict:
        return record
    return restricted.add(
        record, models, {name: asked.as_asked(name, rows) for name in models}, task.labels, asked.valid
    )


def _formed(
    asked: Comparison, models: Mapping[str, Model], score: Scorer, rows: Sequence[Row], max_tokens: int, log: AnswerLog
) -> dict[str, list[Scored]]:
    """Each model's answers that can only be what the rows say; none if that was not asked for."""
    if asked.by_form is None:
        return {}
    form = asked.by_form(rows)
    return {
        name: _answered(asked, f"{name}, restricted", side, score, asked.as_asked(name, rows), max_tokens, log, form)
        for name, side in models.items()
    }


def _with_tables(
    record: EvaluationRecord, task: Task, rows: Sequence[Row], sides: Mapping[str, Side]
) -> EvaluationRecord:
    """The record with what the task says over all answers."""
    texts = {name: [one.answer.text for one in side.scored] for name, side in sides.items()}
    if task.summarised:
        record = replace(record, classes=task.summarised(rows, texts))
    return replace(record, fields=task.field_table(rows, texts)) if task.field_table else record


def _sides(asked: Comparison, model: Model) -> dict[str, Model]:
    """The tuned ``model``, and the one that it is compared with."""
    run, other = asked.run, asked.other
    if other is None and not asked.base:
        return {"tuned": model}
    if run.encoder.new_tokens != (other.encoder.new_tokens if other else None):
        say(
            "Note: the models have different tokens: each loss per token is by its own, the difference by the tuned ones."
        )
    return {"tuned": model, "base": other.load() if other else model.without_adapter()}


def _fitting(
    run: TunedRun, rows: Sequence[Row], max_tokens: int, base_asked: BaseAsked | None = None
) -> tuple[list[Row], int]:
    """The rows that fit into the model's context, also as the base model is asked them, and the tokens that are left for an
    answer to the longest of them.

    UserError if a row is not a conversation, if the chat template refuses one, or if none fits.
    """
    for number, row in enumerate(rows, start=1):
        if not _is_piece(row) and not _is_conversation(row):
            raise UserError(f"{run.data_dir}: row {number} was not written by dataset.py (run: python dataset.py)")
    context, fitting, room = run.encoder.context_length, [], max_tokens
    asks = [base_asked.row(row) for row in rows] if base_asked else rows
    examples = run.encoder.examples(map(Conversation.of, rows))
    longer = run.encoder.examples(map(Conversation.of, asks)) if base_asked else examples
    made_of = [*zip(examples, longer, strict=True)] if base_asked else [(made, made) for made in examples]
    for number, (row, ask, (made, more)) in enumerate(zip(rows, asks, made_of, strict=True), start=1):
        if isinstance(made, ValueError):
            raise UserError(f"row {number} of the rows to score: {made}")
        if isinstance(more, ValueError):
            raise UserError(f"--base-prompt, --few-shot: row {number} as the base model would be asked: {more}")
        prompt = len(run.encoder.prompt(Conversation.of(ask).prompt))
        if context is None or max(len(more[-1].tokens), prompt + 1) <= context:
            fitting.append(row)
            room = min(room, context - prompt) if context is not None else room
    if not fitting:
        raise UserError(f"no row fits into the model's context of {context} tokens (name shorter ones with --data-dir)")
    if skipped := len(rows) - len(fitting):
        say(
            f"Note: {skipped} of {len(rows)} rows skipped: they are longer than the model's context of {context} tokens."
        )
    if room < max_tokens:
        say(f"Note: answers are cut off at {room} tokens: the model's context has {context}.")
    return fitting, room


def _is_piece(row: Row) -> bool:
    """A piece of a document."""
    return isinstance(row.get("text"), str) and "piece" in row and "messages" not in row


def _is_conversation(row: Row) -> bool:
    """At least a prompt and an answer, each with its role and text."""
    messages = row.get("messages")
    if not isinstance(messages, list) or len(messages) < 2:
        return False
    return all(isinstance(one, dict) and isinstance(one.get("content"), str) and "role" in one for one in messages)


def _key(
    asked: Comparison, rows: Sequence[Row], max_tokens: int, scorer: ScorerRecord | None = None
) -> dict[str, object]:
    """What must be the same to resume."""
    return {
        "adapter": _adapter_hashes(asked.run),
        "against": _adapter_hashes(asked.other) if asked.other else None,
        "model": asked.run.record.model.fingerprint,
        "rows": files.text_hash(str(rows)),  # whole: the scores that are kept depend on more than the messages
        "split": asked.split,
        "max_tokens": max_tokens,
        **({"file of --scorer": scorer.sha256} if scorer else {}),
        **({"--base-prompt or --few-shot": files.text_hash(str(asked.base_asked))} if asked.base_asked else {}),
        **({"restrict": True} if asked.by_form else {}),
    }


def _adapter_hashes(run: TunedRun) -> list[str]:
    return [files.file_hash(run.adapter_path / name) for name in (run.backend.FORMAT.file, files.ADAPTER_CONFIG)]


def _answered(
    asked: Comparison,
    name: str,
    model: Model,
    score: Scorer,
    rows: Sequence[Row],
    max_tokens: int,
    log: AnswerLog,
    restrict: Restrict | None = None,
) -> list[Scored]:
    part = {"general": "general questions", "restricted": "restricted answers"}.get(name.partition(", ")[2], "answers")
    with asked.times.of(part), Progress(f"Answers ({name})", len(rows), "rows") as bar:
        known = log.known(name)
        bar.advance(len(known))

        def on_scored(index: int, scored: Scored) -> None:
            log.add(name, index, scored)
            bar.advance()

        return evaluate(model, score, rows, max_tokens, dict(known), on_scored, restrict=restrict)


def _losses(asked: Comparison, name: str, model: Model, rows: Sequence[Row]) -> Losses:
    with asked.times.of("losses"), Progress(f"Losses ({name})", len(rows), "rows") as bar:
        return reference_losses(model, rows, bar.advance)


_GENERAL_ROWS: list[Row] = [
    {
        "messages": [*general.messages(question), {"role": "assistant", "content": question.accepted[0]}],
        "question": question,
    }
    for question in general.QUESTIONS
]


def _score_general(row: Row, answer: str) -> Score:
    return general.score(row["question"], answer)


def _general(asked: Mapping[str, list[Scored]]) -> GeneralRecord:
    """How many general questions each model got right, whether the tuned one has lost some, and all answers."""
    right = {name: [one.score.value == 1.0 for one in scored] for name, scored in asked.items()}
    n = len(general.QUESTIONS)
    sides = {
        name: GeneralSide(sum(values), sum(values) / n, wilson_interval(sum(values), n))
        for name, values in right.items()
    }
    verdict = judge(right["base"], right["tuned"]) if "base" in right else None
    return GeneralRecord(
        n=n,
        base=sides.get("base"),
        tuned=sides["tuned"],
        verdict=verdict.verdict if verdict else None,
        explanation=verdict.explanation if verdict else None,
        rows=[
            GeneralRow(question.text, **{name: scored[i].record() for name, scored in asked.items()})
            for i, question in enumerate(general.QUESTIONS)
        ],
    )
