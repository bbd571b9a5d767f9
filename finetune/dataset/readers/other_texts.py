"""Files of text that are neither rows nor documents to learn from: logs, e-mails, source code, settings."""

import re
from collections.abc import Callable

_WHOLE = "write rows: a JSON object a line in .jsonl, or a table in .csv whose first line names the columns"
_CODE = dict.fromkeys((".py", ".pyi", ".ipynb"), "Python") | dict.fromkeys((".js", ".mjs", ".jsx"), "JavaScript")
_CODE |= dict.fromkeys((".ts", ".tsx"), "TypeScript") | dict.fromkeys((".c", ".h"), "C") | {".sql": "SQL"}
_CODE |= dict.fromkeys((".cpp", ".cc", ".hpp", ".cxx"), "C++") | dict.fromkeys((".sh", ".bash", ".zsh"), "shell")
_CODE |= {".java": "Java", ".go": "Go", ".rs": "Rust", ".rb": "Ruby", ".php": "PHP", ".swift": "Swift", ".kt": "Kotlin"}
_CODE |= {".cs": "C#", ".scala": "Scala", ".r": "R", ".jl": "Julia", ".lua": "Lua", ".css": "CSS", ".pl": "Perl"}
_SETTINGS = dict.fromkeys((".yml", ".yaml"), "YAML") | {".toml": "TOML", ".ini": "INI", ".cfg": "INI", ".xml": "XML"}
_DOCUMENTS = {".rst": "reStructuredText", ".tex": "LaTeX", ".adoc": "AsciiDoc", ".org": "Org", ".text": "plain text"}
_DOCUMENTS |= {".srt": "subtitles", ".vtt": "subtitles"}

_STAMP = re.compile(
    r"\[?(?:\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|\d\d:\d\d:\d\d|\w{3} +\d+ \d\d:\d\d:\d\d)"
    r"|\S+ \S+ \S+ \[\d\d/\w{3}/\d{4}:|\[?(?:DEBUG|INFO|WARN|WARNING|ERROR|TRACE|FATAL)\b"
)
_FEWEST_LINES, _MOST_STAMPED = 3, 0.7
_HEADER = re.compile(r"(?:From|To|Subject|Date|Received|Message-ID|Return-Path|MIME-Version): \S", re.IGNORECASE)
_SCRIPT = re.compile(r"#!\s*/\S+")


def _is_mailbox(begin: str) -> bool:
    return bool(re.match(r"From \S+@?\S* +\w{3} \w{3} +\d", begin)) and _headers(begin) > 0


def _is_mail(begin: str) -> bool:
    return bool(_HEADER.match(begin)) and _headers(begin) > 2


def _headers(begin: str) -> int:
    return sum(bool(_HEADER.match(line)) for line in begin.splitlines()[:60])


def is_log(begin: str) -> bool:
    """Whether most lines begin with a time or a level, as those of a log."""
    lines = [line for line in begin.splitlines()[:-1] or [begin] if line.strip()]
    return len(lines) >= _FEWEST_LINES and sum(bool(_STAMP.match(line)) for line in lines) > _MOST_STAMPED * len(lines)


_MAILS = "write rows of it: a message and its label, its answer or its fields a line; see the guides"
_KINDS: tuple[tuple[Callable[[str], bool], str, str], ...] = (
    (_is_mailbox, "a mailbox of e-mails (mbox)", _MAILS),
    (_is_mail, "an e-mail", _MAILS),
    (is_log, "a log file", f"{_WHOLE}, of a line and what is to be learned of it"),
)


def described(suffix: str, begin: str) -> tuple[str, str] | None:
    """What a text is, and what can be done to learn from it; None if it may be rows, or a document to learn from."""
    begin = begin.removeprefix("\ufeff")
    if suffix in (".jsonl", ".json", ".ndjson", ".csv", ".tsv") or begin.lstrip()[:1] in ("{", "["):
        return None
    for is_kind, what, remedy in _KINDS:
        if is_kind(begin):
            return what, remedy
    as_text = "to learn from it as text, name it .txt: --type text"
    if suffix in _CODE or _SCRIPT.match(begin):
        return f"source code{f' ({_CODE[suffix]})' if suffix in _CODE else ''}", f"{_WHOLE}; {as_text}"
    if suffix in _SETTINGS:
        return f"a file of {_SETTINGS[suffix]}", _WHOLE
    if suffix in _DOCUMENTS:
        return f"a text ({_DOCUMENTS[suffix]})", as_text
    return None
