"""The loop of a chat: read a line, run a command or let the models answer."""

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import cast

from rich.console import Group, RenderableType
from rich.text import Text

from finetune.backends.interface import Model
from finetune.errors import UserError, visible
from finetune.evaluation.chat.display import open_display
from finetune.evaluation.chat.keyboard import CtrlC, no_echo, read_line
from finetune.evaluation.chat.results import results_of
from finetune.evaluation.chat.session import Session
from finetune.evaluation.tuned_run import TunedRun
from finetune.models.call_text import calls_of
from finetune.models.conversation import Conversation
from finetune.tasks.classify.task import CLASSIFY
from finetune.tasks.sql.dialects import SQLITE
from finetune.tasks.sql.judging.shell import SqlTables
from finetune.tasks.sql.task import SQL, instruction
from finetune.tasks.text import TEXT
from finetune.terminal import results, show


def demand_template(run: TunedRun) -> None:
    """UserError if the model cannot chat."""
    if not run.encoder.template:
        raise UserError(
            f"--interactive: {run.record.model.name} has no chat template (omit it to see how the model continues held-out"
            " texts, or train with --template chatml)"
        )


def chat(
    models: Mapping[str, Model], max_tokens: int, task_name: str, dialect: str | None = None, system: str = ""
) -> None:
    """Read messages and commands from stdin until its end or /quit.

    Every message goes to each of the models in turn, and each has its own conversation. For the task sql the conversation
    begins with the system message of its training rows, and ``dialect`` is what these are written in; for the task classify
    with ``system``, and each message is asked by itself.
    """
    console = results()
    dialect = dialect or SQLITE
    with SqlTables(dialect) as tables, CtrlC() as ctrl_c:
        session = Session(models, tables, instruction(dialect) if task_name == SQL.name else system)
        show("Type a message. /help lists the commands, /quit (or Ctrl-D) ends the chat.")
        if task_name == TEXT.name:
            show(
                "The model was trained on plain text; here it is asked through the chat template, as before the training."
            )
        if session.system:
            first, *others = session.system.split("\n")
            show(f"System message (as in training): {first}", *others)
        if task_name == CLASSIFY.name:
            show("Each message is classified by itself.")
        asked: dict[str, str | None]  # what each model is asked; None: it goes on after the result of its call
        while not session.over and (line := read_line(ctrl_c)) is not None:
            if line.startswith("/"):
                try:
                    show(*session.command(line))
                except UserError as error:
                    show(str(error), *error.details)
                asked, session.waiting = dict.fromkeys(session.waiting), []
            else:
                asked = dict.fromkeys(models, line.strip()) if line.strip() else {}
                if task_name == CLASSIFY.name:
                    session.command("/reset")
            if asked:
                ctrl_c.pressed()
                with open_display(console, tuple(asked)) as display, no_echo():
                    for name, question in asked.items():
                        display.begin(name)
                        display.end(*_answer(session, name, models[name], question, max_tokens, display.grow, ctrl_c))


def _answer(
    session: Session,
    name: str,
    model: Model,
    question: str | None,
    max_tokens: int,
    grow: Callable[[str], None],
    ctrl_c: CtrlC,
) -> tuple[str, RenderableType | None]:
    """Let one model answer and keep the answer. Returns a remark ("" for none) and the calls that it makes, or the result of
    its SQL if it is run.

    An answer without text is not kept, nor is its question: no chat template and no row could hold them.
    """
    message = None if question is None else session.question(question)
    try:
        prompt, room = _prompt(model, session.conversation(name, message), max_tokens)
    except ValueError as error:
        return f"({error})", None
    answer, remark, stopped = "", "", False
    tokens: list[int] = []
    # an answer that is stopped must be closed before another model answers: they may share a network
    with closing(cast(Generator[int, None, None], model.stream(prompt, room))) as stream:
        for token in stream:
            tokens.append(token)
            # the tokens of half a character end in U+FFFD until its last one is there
            answer = model.encoder.read(tokens, stopped=False).text.rstrip("\ufffd")
            grow(visible(answer))
            if stopped := ctrl_c.pressed():
                break
    answer = model.encoder.read(tokens, stopped=not stopped and len(tokens) < room).text.rstrip("\ufffd")
    grow(visible(answer))
    if stopped:
        remark = "(stopped)"
    elif len(tokens) == room:
        remark = f"(cut off at {room} tokens" + (
            ", see --max-tokens)" if room == max_tokens else ": the context is full)"
        )
    if not answer.strip():
        return remark or "(no answer)", None
    if calls := calls_of(session.keep(name, message, answer)):
        hint = Text("(/result TEXT gives what it returned)", style="dim")
        return remark, Group(*(Text(visible(f"calls {call}")) for call in calls), hint)
    runs = session.runs_sql and not stopped
    return remark, results_of(session.tables, session.context, answer) if runs else None


def _prompt(model: Model, conversation: Conversation, max_tokens: int) -> tuple[list[int], int]:
    """The prompt's token ids, and how many tokens can follow. ValueError if it does not fit into the context."""
    prompt = model.encoder.prompt(conversation)
    limit = model.encoder.context_length
    if limit is None:
        return prompt, max_tokens
    if len(prompt) >= limit:
        remedy = "/reset starts a new conversation, /schema - removes the tables"
        raise ValueError(f"too long: {len(prompt)} tokens, but the model's context has {limit}; {remedy}")
    return prompt, min(max_tokens, limit - len(prompt))
