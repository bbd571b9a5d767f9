"""The state of a chat, and the commands that show and change it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from finetune.errors import UserError, closest, path_of, shortened
from finetune.models.conversation import Message
from finetune.records import files
from finetune.tasks.sql.dialects import DIALECTS
from finetune.tasks.sql.judging.execution import Outcome, WorkerKilled
from finetune.tasks.sql.judging.shell import SqlTables
from finetune.tasks.sql.schema import schema_of
from finetune.tasks.sql.task import user_message
from finetune.terminal import counted, format_bytes

_LONGEST = 1_000_000  # bytes of a file of statements that the worker takes


class Session:
    """The conversation of each model, the system message, and the tables that are put before every question.

    ``context`` is a script of CREATE and INSERT statements, or "". Commands raise UserError.
    """

    def __init__(self, names: Iterable[str], tables: SqlTables, system: str = ""):
        self.tables = tables
        self.system = system
        self.context = ""
        self.runs_sql = False
        self.over = False
        self._turns: dict[str, list[Message]] = {name: [] for name in names}

    def question(self, text: str) -> Message:
        """The user's message; with tables, in the format of the SQL training rows."""
        return {
            "role": "user",
            "content": user_message(self.context, text, self.tables.dialect) if self.context else text,
        }

    def messages(self, name: str) -> list[Message]:
        """The conversation with this model, the system message first."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return system + self._turns[name]

    def keep(self, name: str, question: Message, answer: str) -> None:
        self._turns[name] += [question, {"role": "assistant", "content": answer}]

    def command(self, line: str) -> list[str]:
        """Run a command line; the lines of the reply."""
        name, _, rest = line.strip().partition(" ")
        if name not in COMMANDS:
            near = closest(name, COMMANDS)
            raise UserError(f"{name}: unknown command ({f'did you mean {near}?' if near else 'see /help'})")
        command = COMMANDS[name]
        if rest.strip() and not command.argument:
            raise UserError(f"{name}: takes no argument")
        reply = command.run(self, rest.strip())
        return [reply] if isinstance(reply, str) else reply

    def _help(self, _: str) -> list[str]:
        rows = [(f"{name} {command.argument}", command.about) for name, command in COMMANDS.items()]
        lines = [f"{usage:<15} {about}" for usage, about in rows]
        lines += ["/system, /schema and /sql without an argument show the current value. Ctrl-C stops an answer."]
        return [*lines, "To send a message that begins with a slash, type a space first."]

    def _reset(self, _: str) -> str:
        for turns in self._turns.values():
            turns.clear()
        kept = [word for word, value in (("system message", self.system), ("tables", self.context)) if value]
        return f"(new conversation{', with the same ' if kept else ''}{' and '.join(kept)})"

    def _system(self, text: str) -> str:
        if text:
            self.system = "" if text == "-" else text
        return f"system: {self.system}" if self.system else "(no system message)"

    def _schema(self, argument: str) -> str | list[str]:
        if argument == "-":
            self.context = ""
        elif argument:
            self.context, found = _read_tables(path_of(argument, "/schema"), self.tables)
            return f"{argument}: {found}, shown to the model before each question"
        return schema_of(self.context, self.tables.dialect).split("\n") if self.context else "(no tables)"

    def _sql(self, argument: str) -> str:
        if argument not in ("", "on", "off"):
            raise UserError(f"/sql: unknown value {argument!r} (choose from on, off)")
        if argument:
            self.runs_sql = argument == "on"
        without = "" if self.context or not self.runs_sql else "; no tables yet (load them with /schema FILE)"
        return f"(the SQL in an answer is {'run' if self.runs_sql else 'not run'}{without})"

    def _save(self, argument: str) -> str:
        if not argument:
            raise UserError("/save: a file name is missing (for example /save chats.jsonl)")
        path = path_of(argument, "/save")
        names = [name for name, turns in self._turns.items() if turns]
        if not names:
            raise UserError("/save: the conversation is empty")
        for name in names:
            files.append_jsonl(path, {"messages": self.messages(name)})
        rows = f"{len(names)} rows" if len(names) > 1 else "1 row"
        return f"{path}: {rows} added ({', '.join(names)}), for dataset.py --type chat"

    def _quit(self, _: str) -> list[str]:
        self.over = True
        return []


class Command(NamedTuple):
    argument: str
    about: str
    run: Callable[[Session, str], str | list[str]]


COMMANDS = {
    "/help": Command("", "show this list", Session._help),
    "/reset": Command("", "start a new conversation; keep the system message and the tables", Session._reset),
    "/system": Command("TEXT", "set the system message; - removes it", Session._system),
    "/schema": Command("FILE", "load tables from CREATE and INSERT statements; - removes them", Session._schema),
    "/sql": Command("on|off", "run the SQL in each answer on the tables and show the result", Session._sql),
    "/save": Command("FILE", "append the conversation to a file, one row per model", Session._save),
    "/quit": Command("", "leave the chat (or Ctrl-D)", Session._quit),
}


def _read_tables(path: Path, tables: SqlTables) -> tuple[str, str]:
    """The statements of a file that create tables, and a summary of the tables. UserError if they create none."""
    try:
        if not path.is_file():
            raise UserError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        if path.stat().st_size > _LONGEST:
            raise UserError(f"{path}: larger than {format_bytes(_LONGEST)} (use fewer INSERT statements)")
        script = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None
    try:
        made = tables.describe(script)
    except WorkerKilled as error:
        raise UserError(f"{path}: {error}") from None
    if isinstance(made, Outcome):
        raise UserError(
            f"{path}: {shortened(made.message, 200)} (use only CREATE and INSERT statements that"
            f" {DIALECTS[tables.dialect]} accepts)"
        )
    if not made.schema:
        raise UserError(f"{path}: contains no CREATE statement")
    rows = sum(len(table.rows) for table in made.tables)
    return script, ", ".join(counted(count, noun) for count, noun in ((len(made.tables), "table"), (rows, "row")))
