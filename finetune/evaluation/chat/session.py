"""The state of a chat, and the commands that show and change it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from finetune.errors import UserError, closest, path_of, shortened
from finetune.models.call_text import message_of
from finetune.models.conversation import Conversation, Message, Tool
from finetune.records import files
from finetune.tasks.sql.dialects import DIALECTS
from finetune.tasks.sql.judging.execution import Outcome, WorkerKilled
from finetune.tasks.sql.judging.shell import SqlTables
from finetune.tasks.sql.schema import schema_of
from finetune.tasks.sql.task import user_message
from finetune.tasks.tool_rows import FIELDS, tools_of
from finetune.terminal import counted, format_bytes

_LONGEST = 1_000_000  # bytes of a file of statements that the worker takes, or of tools


class Session:
    """The conversation of each model, the system message, and the tables that are put before every question.

    ``context`` is a script of CREATE and INSERT statements, or "". ``tools`` are those that the models can call; ``waiting``
    names the models that have the results of their calls and have not answered yet. Commands raise UserError.
    """

    def __init__(self, names: Iterable[str], tables: SqlTables, system: str = ""):
        self.tables = tables
        self.system = system
        self.context = ""
        self.runs_sql = False
        self.over = False
        self.tools: list[Tool] = []
        self.waiting: list[str] = []
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

    def conversation(self, name: str, question: Message | None) -> Conversation:
        """What this model is to answer; without a question, the results of its calls are the last turns."""
        return Conversation([*self.messages(name), *([question] if question else [])], self.tools)

    def keep(self, name: str, question: Message | None, answer: str) -> Message:
        """Add an answer to a model's conversation; with tools, the calls in it are calls."""
        message: Message = message_of(answer, self.tools) if self.tools else {"role": "assistant", "content": answer}
        self._turns[name] += [*([question] if question else []), message]
        return message

    def _open_calls(self, name: str) -> list[tuple[str, str]]:
        """The id and the function of each call that has no result yet."""
        turns = self._turns[name]
        last = max((at for at, turn in enumerate(turns) if turn["role"] != "tool"), default=0)
        calls = turns[last].get("tool_calls", []) if turns else []
        return [(call["id"], call["function"]["name"]) for call in calls[len(turns) - 1 - last :]]

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
        lines += [
            "/system, /schema, /sql and /tools without an argument show the current value. Ctrl-C stops an answer."
        ]
        return [*lines, "To send a message that begins with a slash, type a space first."]

    def _reset(self, _: str) -> str:
        for turns in self._turns.values():
            turns.clear()
        known = (("system message", self.system), ("tables", self.context), ("tools", self.tools))
        kept = [word for word, value in known if value]
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

    def _tools(self, argument: str) -> str | list[str]:
        if argument == "-":
            self.tools = []
        elif argument:
            self.tools = _read_tools(path_of(argument, "/tools"))
        if not self.tools:
            return "(no tools)"
        return [
            f"{tool['function']['name']}  {tool['function'].get('description', '')}".rstrip() for tool in self.tools
        ]

    def _result(self, text: str) -> list[str]:
        asked = {name: calls[0] for name in self._turns if (calls := self._open_calls(name))}
        if not asked:
            raise UserError("/result: no call waits for a result (load tools with /tools FILE, and ask)")
        for name, (identity, function) in asked.items():
            self._turns[name].append({"role": "tool", "content": text, "tool_call_id": identity, "name": function})
        self.waiting = [name for name in asked if not self._open_calls(name)]
        left = [function for name in asked for _, function in self._open_calls(name)]
        lines = [f"(a result of {left[0]} is still missing)"] if left else []
        if len({function for _, function in asked.values()}) > 1:
            given = " and ".join(f"{function} for {name}" for name, (_, function) in asked.items())
            lines = [f"(taken as the result of {given})", *lines]
        return lines

    def _save(self, argument: str) -> str:
        if not argument:
            raise UserError("/save: a file name is missing (for example /save chats.jsonl)")
        path = path_of(argument, "/save")
        names = [name for name, turns in self._turns.items() if turns]
        if not names:
            raise UserError("/save: the conversation is empty")
        for name in names:
            files.append_jsonl(path, {"messages": self.messages(name)} | ({"tools": self.tools} if self.tools else {}))
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
    "/reset": Command("", "start a new conversation; keep system message, tables and tools", Session._reset),
    "/system": Command("TEXT", "set the system message; - removes it", Session._system),
    "/schema": Command("FILE", "load tables from CREATE and INSERT statements; - removes them", Session._schema),
    "/sql": Command("on|off", "run the SQL in each answer on the tables and show the result", Session._sql),
    "/tools": Command(
        "FILE",
        "let the models call the tools of a JSON list, or of a file of rows; - removes them",
        Session._tools,
    ),
    "/result": Command(
        "TEXT", "what the function returned that a model has called; the model goes on", Session._result
    ),
    "/save": Command("FILE", "append the conversation to a file, one row per model", Session._save),
    "/quit": Command("", "leave the chat (or Ctrl-D)", Session._quit),
}


def _read_text(path: Path, fewer: str) -> str:
    """UserError if it cannot be read, is no text, or is so long that there should be ``fewer``."""
    try:
        if not path.is_file():
            raise UserError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        if path.stat().st_size > _LONGEST:
            raise UserError(f"{path}: larger than {format_bytes(_LONGEST)} (use fewer {fewer})")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None


def _read_tools(path: Path) -> list[Tool]:
    """The tools of a JSON file: a list, or an object with one. In a file of rows, those of the first row."""
    text = _read_text(path, "tools or rows")
    try:
        try:
            value = json.loads(text)
        except ValueError:
            value = json.loads(text.partition("\n")[0])
        is_row = isinstance(value, dict) and any(field in value for field in FIELDS)
        tools = tools_of(value if is_row else {"tools": value})
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {shortened(str(error), 200)} (give a list of tools in JSON)") from None
    if not tools:
        raise UserError(f"{path}: contains no tools (give a list of tools in JSON)")
    return tools


def _read_tables(path: Path, tables: SqlTables) -> tuple[str, str]:
    """The statements of a file that create tables, and a summary of the tables. UserError if they create none."""
    script = _read_text(path, "INSERT statements")
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
