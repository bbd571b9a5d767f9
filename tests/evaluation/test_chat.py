"""The chat as a person has it: the real script at a terminal and in a pipe; scripted models where the answer matters."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from pathlib import Path

import pytest

from finetune.models.encoder import ChatEncoder
from finetune.tasks.sql.task import SQL
from scripts import OFFLINE, ROOT, run

TABLES = """-- of one school; its pupils
CREATE TABLE pupils (
  name VARCHAR(255), -- the first name
  age INT
);
INSERT INTO pupils VALUES ('Ann -- the first', 13), ('Bo', 11), ('Cy', NULL);
"""
QUERY = "SELECT name, age AS years FROM pupils ORDER BY name"

# models whose answers are given: python -c SCRIPTED FOLDER TASK ANSWER [ANSWER], the first of them the base model's
SCRIPTED = """
import sys
from pathlib import Path
from finetune.evaluation.chat import chat
from finetune.models.encoder import ChatEncoder

class Scripted:
    answering = False

    def __init__(self, folder, answer):
        self.encoder, self.answer = ChatEncoder(Path(folder)), answer

    def stream(self, prompt, max_tokens):
        assert not Scripted.answering, "the models may share a network"
        Scripted.answering = True
        yield from self.encoder.tokenizer.encode(self.answer)[:max_tokens]
        Scripted.answering = False

folder, task, *answers = sys.argv[1:]
chat(dict(zip(("base", "tuned")[-len(answers):], (Scripted(folder, answer) for answer in answers))), 200, task)
"""


class Terminal:
    """A process at a pseudo-terminal of its own, which is ended with it."""

    def __init__(self, folder: Path, columns: int, *arguments: object):
        self._unread = b""
        self.process, self._screen = pty.fork()
        if self.process == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            os.chdir(folder)
            hidden = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "INPUTRC")
            kept = {name: value for name, value in os.environ.items() if name not in hidden}
            given = {**OFFLINE, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
            os.execve(sys.executable, [sys.executable, *map(str, arguments)], kept | given)

    def __enter__(self) -> "Terminal":
        self.until("you> ")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._screen)
        if self.process:
            os.kill(self.process, 9)
            os.waitpid(self.process, 0)

    def until(self, words: str) -> str:
        """What is written up to these words, escape codes included."""
        deadline = time.monotonic() + 120
        while words.encode() not in self._unread:
            ready, _, _ = select.select([self._screen], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {words!r} at the end of {self._unread[-400:]!r}"
            self._unread += os.read(self._screen, 4096)
        before, found, self._unread = self._unread.partition(words.encode())
        return (before + found).decode()

    def type(self, keys: str, words: str = "you> ") -> str:
        """Types the keys; what is written until the next prompt."""
        os.write(self._screen, keys.encode())
        return self.until(words)

    def leave(self, keys: str) -> int:
        """Types the keys; the exit code."""
        os.write(self._screen, keys.encode())
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([self._screen], [], [], 0.1)[0]:
                try:
                    os.read(self._screen, 4096)
                except OSError:  # Linux: the process has closed its side
                    break
            ended, status = os.waitpid(self.process, os.WNOHANG)
            if ended:
                self.process = 0
                return os.waitstatus_to_exitcode(status)
        _, status = os.waitpid(self.process, 0)
        self.process = 0
        return os.waitstatus_to_exitcode(status)


def plain(written: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r\n", "\n")


def saved(path: Path) -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny model was trained on SQL, and a file of tables lies."""
    folder = tmp_path_factory.mktemp("chat")
    run(folder, "dataset.py", "--type", "sql", "--dataset-name", "builtin", "--sample-size", 60)
    run(folder, "train.py", "--model", tiny_model, "--iters", 1, "--batch-size", 1)
    (folder / "pupils.sql").write_text(TABLES)
    return folder


def test_in_a_pipe_the_chat_is_plain_text_and_mistakes_do_not_end_it(folder: Path) -> None:
    typed = [
        "hello", "/save chats.jsonl", "/reset", "/sytem x", "/schema nowhere.sql", "/schema data", "/sql maybe", "/save",
        "/schema", "/system Be brief.", "/help", "/quit", "never read",
    ]  # fmt: skip
    (folder / "chats.jsonl").write_text('{"prompt": "p", "completion": "c"}')  # without its line end
    arguments = ("test_finetuned.py", "--interactive", "--show-base", "--max-tokens", 5)
    said = run(folder, *arguments, stdin="\n".join(typed)).stdout
    assert "\x1b" not in said and said.count("you> ") == len(typed) - 1
    lines = said.splitlines()
    assert any(line.startswith("you> base> ") for line in lines) and any(line.startswith("tuned> ") for line in lines)
    assert "you> /sytem: unknown command (did you mean /system?)" in lines
    assert "you> nowhere.sql: no such file" in lines and "you> data: not a regular file" in lines
    assert "you> /sql: unknown value 'maybe' (choose from on, off)" in lines and "you> system: Be brief." in lines
    whole = ("--valid-fraction", 0, "--test-fraction", 0, "--output-dir", "chats")
    assert "3 read" in run(folder, "dataset.py", "--type", "chat", "--dataset-name", "chats.jsonl", *whole).stdout
    assert run(folder, *arguments, stdin="hello").stdout.endswith("you> \n")


def test_at_a_terminal_ctrl_c_stops_the_answer_and_arrow_up_brings_the_question_back(folder: Path) -> None:
    script = (ROOT / "test_finetuned.py", "--interactive", "--show-base", "--max-tokens", 4000)
    with Terminal(folder, 80, *script) as terminal:
        for keys in ("ask me\r", "\x1b[A\r"):
            assert "ask me" in terminal.type(keys, "\x1b[1;36mbase> ")
            terminal.until(" ")  # the answer has begun
            terminal.type("\x03", "(stopped)")
            terminal.until("\x1b[1;32mtuned> ")
            terminal.type("\x03", "(stopped)")
            terminal.until("you> ")
            time.sleep(0.5)  # until readline waits: what comes just before is seen with the next key only
            assert "(Ctrl-D or /quit" in terminal.type("half a line\x03")
        assert "2 rows added" in terminal.type("/save stopped.jsonl\r")
        assert terminal.leave("\x04") == 0
    for messages in saved(folder / "stopped.jsonl"):
        assert [message["role"] for message in messages][:3] == ["system", "user", "assistant"]
        assert all(message["content"] for message in messages)
        assert {message["content"] for message in messages if message["role"] == "user"} == {"ask me"}


def test_on_a_wide_terminal_the_answers_stand_side_by_side(folder: Path) -> None:
    script = (ROOT / "test_finetuned.py", "--interactive", "--show-base", "--max-tokens", 30)
    with Terminal(folder, 120, *script) as terminal:
        lines = plain(terminal.type("ask me\r")).splitlines()
        assert any(re.fullmatch(r" *base +│ tuned *", line) for line in lines)
        assert any(re.fullmatch(r" \S.+ │ \S.+", line) for line in lines)
        assert "base> " not in "".join(lines)
        assert terminal.leave("/quit\r") == 0


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_of_a_file_are_asked_about_and_the_sql_of_the_answer_is_run(
    folder: Path, tiny_model: Path, tmp_path: Path, columns: int
) -> None:
    answers = (f"Try this:\n```sql\n{QUERY};\n```\n\x1b]0;été\x07\x9b2J", "SELECT missing FROM pupils")
    with Terminal(folder, columns, "-c", SCRIPTED, tiny_model, "sql", *answers) as terminal:
        assert "1 table, 3 rows" in terminal.type("/schema pupils.sql\r")
        assert "CREATE TABLE pupils ( name VARCHAR, /* the first name */ age INT );" in terminal.type("/schema\r")
        terminal.type("/sql on\r")
        written = terminal.type("Who is there? \r")
        for cells in (r"name +years", r"Ann -- the first +13", r"Cy +NULL"):
            assert re.search(cells, plain(written)), plain(written)
        assert "SQL error: no such column: missing" in plain(written)
        assert "\x1b]" not in written and "\x07" not in written and "␛]0;été␇␦2J" in plain(written)
        terminal.type(f"/save {tmp_path / 'asked.jsonl'}\r")
        assert terminal.leave("/quit\r") == 0
    row = {"sql_prompt": "Who is there?", "sql_context": TABLES, "sql": QUERY}
    base, tuned = saved(tmp_path / "asked.jsonl")
    assert base[:-1] == tuned[:-1] == SQL.to_messages(row)[:-1]
    assert [messages[-1]["content"] for messages in (base, tuned)] == list(answers)


def test_a_character_of_several_tokens_is_never_shown_by_half(folder: Path, tiny_model: Path) -> None:
    answer = "漢字 🙂 ∮ é"
    encoder = ChatEncoder(tiny_model)
    tokens = encoder.tokenizer.encode(answer)
    assert any("\ufffd" in encoder.decode(tokens[:count]) for count in range(len(tokens)))
    for columns in (80, 120):
        with Terminal(folder, columns, "-c", SCRIPTED, tiny_model, "chat", answer, answer) as terminal:
            written = terminal.type("hello\r")
            assert answer in written and "\ufffd" not in written


def test_a_prompt_longer_than_the_context_is_one_line(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    for path in tiny_model.iterdir():
        (tmp_path / path.name).symlink_to(path)
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 60}))
    with Terminal(folder, 80, "-c", SCRIPTED, tmp_path, "chat", "yes " * 100) as terminal:
        assert "too long: " in terminal.type(f"{'word ' * 100}\r")
        assert "the context is full" in terminal.type("hello\r")
        assert "too long: " in terminal.type("hello\r")
        terminal.type("/reset\r")
        assert "yes yes" in terminal.type("hello\r")


def test_a_call_is_shown_as_a_call_and_its_result_can_be_typed(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    function = {"name": "get_weather", "description": "Tells it.", "parameters": {"type": "object", "properties": {}}}
    (tmp_path / "tools.json").write_text(json.dumps([function]))
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    with Terminal(folder, 80, "-c", SCRIPTED, tiny_model, "chat", call, "No idea.") as terminal:
        assert "no call waits for a result" in terminal.type("/result sun\r")
        assert "no such file" in terminal.type("/tools nowhere.json\r")
        assert "(no tools)" in terminal.type("/tools\r")
        assert "get_weather  Tells it." in terminal.type(f"/tools {tmp_path / 'tools.json'}\r")
        asked = plain(terminal.type("Weather?\r"))
        assert 'calls get_weather(city="Paris")' in asked and "No idea." in asked and "/result TEXT" in asked
        went_on = plain(terminal.type("/result sun\r"))
        assert "base>" in went_on and "tuned>" not in went_on and "calls get_weather" in went_on
        terminal.type(f"/save {tmp_path / 'calls.jsonl'}\r")
        assert terminal.leave("/quit\r") == 0
    (tmp_path / "tools.json").unlink()
    run(
        tmp_path,
        "dataset.py",
        "--type",
        "chat",
        "--dataset-name",
        "calls.jsonl",
        "--valid-fraction",
        0,
        "--test-fraction",
        0,
    )
    rows = [json.loads(line) for line in (tmp_path / "data" / "train.jsonl").read_text().splitlines()]
    (called,) = (row["messages"] for row in rows if len(row["messages"]) == 4)
    assert [turn["role"] for turn in called] == ["user", "assistant", "tool", "assistant"]
    assert called[2]["content"] == "sun" and called[3]["tool_calls"][0]["function"]["arguments"] == {"city": "Paris"}
    assert all(row["tools"] == [{"type": "function", "function": function}] for row in rows)
