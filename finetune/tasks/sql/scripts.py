"""A script of SQL in any dialect, as a dump writes it: its statements, and what each of them is there for.

Statements are told apart by sqlglot's tokens of the dialect: what is quoted, dollar-quoted or a comment ends none. The lines of
a dump that are no SQL (rows behind COPY, psql's backslash commands, T-SQL's GO, MySQL's DELIMITER) are taken off first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from finetune.tasks.sql.dialects import DIALECTS

if TYPE_CHECKING:
    from sqlglot.tokens import Token

SCHEMA, ROWS, SKIPPED = "schema", "rows", "skipped"

_SCHEMA_OBJECTS = frozenset("TABLE VIEW INDEX TYPE DOMAIN".split())
_MODIFIERS = frozenset(  # between CREATE and what is created
    "OR REPLACE ALTER TEMP TEMPORARY GLOBAL LOCAL UNLOGGED FOREIGN EXTERNAL MATERIALIZED RECURSIVE UNIQUE CLUSTERED"
    " NONCLUSTERED FULLTEXT SPATIAL COLUMNSTORE FORCE EDITIONABLE VIRTUAL TRANSIENT".split()
)
# what an ALTER TABLE can be about without changing what a query sees
_NO_CHANGE = frozenset(
    "OWNER REPLICA CLUSTER ENABLE DISABLE FORCE ATTACH STORAGE STATISTICS CHECK NOCHECK KEYS".split()
)
_DANGEROUS = ("ATTACH", "DETACH", "LOAD", "INSTALL", "EXEC", "EXECUTE", "XP_CMDSHELL", "LOAD_EXTENSION")
_HARMLESS_PRAGMAS = frozenset(
    "FOREIGN_KEYS ENCODING PAGE_SIZE SYNCHRONOUS JOURNAL_MODE USER_VERSION CACHE_SIZE".split()
)


class UnreadableScript(ValueError):
    """A script cannot be divided into statements, or has one that must not run. The message says why."""


@dataclass(frozen=True)
class Statement:
    """One statement as it was written, without its semicolon. ``role`` is SCHEMA, ROWS or SKIPPED.

    ``copied`` are the lines of values behind a COPY, of tabs and \\N.
    """

    text: str
    role: str
    verb: str
    copied: tuple[str, ...] = ()


@lru_cache(maxsize=64)
def read_script(script: str, dialect: str) -> tuple[Statement, ...]:
    """The statements of a script. UnreadableScript names what cannot be read, or must not run."""
    return tuple(_statements(script, dialect))


def tokens_of(text: str, dialect: str) -> "list[Token]":
    """sqlglot's tokens; UnreadableScript if there is a quote without an end."""
    from sqlglot.dialects.dialect import Dialect
    from sqlglot.errors import SqlglotError

    try:
        return list(Dialect.get_or_raise(dialect).tokenize(text))
    except SqlglotError as error:
        said = " ".join(str(error).split())
        raise UnreadableScript(f"cannot be read as {DIALECTS[dialect]}: {said[:160]}") from None


def _statements(script: str, dialect: str) -> Iterator[Statement]:
    text, copies = _plain_sql(script, dialect)
    tokens = tokens_of(text, dialect)
    part: list[Token] = []
    depth = 0  # of BEGIN ... END in the body of a trigger or a function
    for token in tokens:
        word = token.text.upper()
        if token.token_type.name == "SEMICOLON" and depth <= 0:
            yield from _statement(text, part, copies)
            part, depth = [], 0
            continue
        part.append(token)
        if part[0].text.upper() == "CREATE" and any(t.text.upper() in _ROUTINES for t in part[1:6]):
            depth += {"BEGIN": 1, "CASE": 1, "END": -1}.get(word, 0)
    yield from _statement(text, part, copies)


_ROUTINES = frozenset("TRIGGER FUNCTION PROCEDURE PROC EVENT PACKAGE".split())


def _statement(text: str, part: "list[Token]", copies: dict[int, tuple[str, ...]]) -> Iterator[Statement]:
    if not part:
        return
    own = text[part[0].start : part[-1].end + 1]
    words = [token.text.upper() for token in part[:12]]
    if words[0] == "COPY":
        yield Statement(own, ROWS, "COPY", copies.get(part[0].start, ()))
    else:
        yield Statement(own, _role(words, own), words[0])


def _role(words: list[str], text: str) -> str:
    """What a statement is there for, by its first words in capitals."""
    verb = words[0]
    if verb in _DANGEROUS:
        raise UnreadableScript(f"{text[:60]!r} is not allowed in a script of tables (omit it)")
    if verb == "PRAGMA":
        if not _HARMLESS_PRAGMAS & set(" ".join(words[1:3]).split()):
            raise UnreadableScript(f"{text[:60]!r} is not allowed in a script of tables (omit it)")
        return SKIPPED
    if verb == "CREATE":
        what = next((word for word in words[1:] if word not in _MODIFIERS), "")
        return SCHEMA if what in _SCHEMA_OBJECTS else SKIPPED
    if verb == "ALTER":
        return SCHEMA if words[1:2] == ["TABLE"] and not _NO_CHANGE & set(words[3:8]) else SKIPPED
    if verb == "COMMENT":
        return SCHEMA if words[1:3] in (["ON", "TABLE"], ["ON", "COLUMN"]) else SKIPPED
    if verb in ("INSERT", "REPLACE"):
        return ROWS
    return SKIPPED


def _plain_sql(script: str, dialect: str) -> tuple[str, dict[int, tuple[str, ...]]]:
    """The script without the lines that are no SQL, and the rows of each COPY by the place where it begins."""
    lines = script.splitlines(keepends=True)
    kept: list[str] = []
    copies: dict[int, tuple[str, ...]] = {}
    length = at = 0
    while at < len(lines):
        line, bare = lines[at], lines[at].strip()
        at += 1
        if dialect in ("postgres", "duckdb") and bare.startswith("\\"):
            if bare.startswith(("\\!", "\\copy", "\\i", "\\o", "\\g", "\\w")):
                raise UnreadableScript(f"{bare[:60]!r} is not allowed in a script of tables (omit it)")
            continue
        if (dialect == "tsql" and bare.upper() == "GO") or (
            dialect == "mysql" and bare.upper().startswith("DELIMITER")
        ):
            line = ";\n"
        if dialect == "postgres" and bare.upper().startswith("COPY ") and bare.upper().endswith("FROM STDIN;"):
            end = next((n for n in range(at, len(lines)) if lines[n].rstrip("\r\n") == "\\."), len(lines))
            indent = len(line) - len(line.lstrip())
            copies[length + indent] = tuple(row.rstrip("\r\n") for row in lines[at:end])
            at = end + 1
        kept.append(line)
        length += len(line)
    return "".join(kept), copies


def without_harmless(script: str) -> tuple[str, int]:
    """A script of SQLite without the PRAGMAs that a dump begins with, and how many there were; as it was if there are none."""
    if "PRAGMA" not in script.upper() and "SQLITE_" not in script.upper():
        return script, 0
    statements = read_script(script, "sqlite")
    kept = [one for one in statements if one.verb != "PRAGMA" and not _of_sqlite_itself(one)]
    skipped = len(statements) - len(kept)
    return (";\n".join(one.text for one in kept) + ";", skipped) if skipped else (script, 0)


def _of_sqlite_itself(statement: Statement) -> bool:
    """Whether it fills the tables in which SQLite counts keys and keeps statistics, as a dump does."""
    words = statement.text.upper().replace('"', " ").replace("(", " ").split()
    names = ("SQLITE_SEQUENCE", "SQLITE_STAT1", "SQLITE_STAT4")
    return (statement.verb == "DELETE" and words[2:3] == ["SQLITE_SEQUENCE"]) or (
        statement.verb in ("INSERT", "ANALYZE")
        and any(
            name in words[1:4]
            for name in (*names, "SQLITE_SCHEMA", "SQLITE_MASTER")
            if statement.verb == "ANALYZE" or name in names
        )
    )


def foreign_schema(script: str, dialect: str) -> str:
    """What of a script a prompt shows: the statements that make tables, views, types and indexes, and their comments, one a
    line, as they were written. UnreadableScript if the dialect has no such text."""
    statements = read_script(script, dialect)
    return "\n".join(in_one_line(one.text, dialect) + ";" for one in statements if one.role == SCHEMA)


def in_one_line(text: str, dialect: str) -> str:
    """A statement with single blanks for white space, and comments that do not end with their line."""
    parts: list[str] = []
    end = 0
    for token in tokens_of(text, dialect):
        parts += [_one_gap(text[end : token.start]), text[token.start : token.end + 1]]
        end = token.end + 1
    return "".join(parts).strip()


def _one_gap(gap: str) -> str:
    """White space and comments between two tokens, in one line."""
    found = ""
    while gap:
        if gap[0].isspace():
            found, gap = found.rstrip(" ") + " ", gap.lstrip()
            continue
        if gap.startswith("/*"):
            body, _, gap = gap[2:].partition("*/")
        else:
            body, _, gap = gap.lstrip("-#").partition("\n")
            gap = " " + gap
        found += f"/* {' '.join(body.split())} */".replace("/*  */", "")
    return found
