"""The schema that a prompt shows: the CREATE statements of a script, one per line, otherwise as they were written."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import dropwhile, islice

from finetune.tasks.sql.dialects import SQLITE
from finetune.tasks.sql.scripts import ROWS, SCHEMA, foreign_schema, read_script

# the tokens of SQLite (https://sqlite.org/src/file/src/tokenize.c); what is quoted or a comment can look like any other
_COMMENT = r"(?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))"
_QUOTED = r"""(?P<quoted>'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|`(?:[^`]|``)*(?:`|\Z)|\[[^\]]*(?:\]|\Z))"""
_TOKENS = re.compile(rf"{_COMMENT}|(?P<space>\s+)|(?P<word>\w+)|{_QUOTED}|.", re.DOTALL)
_SEMICOLONS = re.compile(rf"{_COMMENT}|{_QUOTED}|(?P<end>;)", re.DOTALL)
_TRIGGER = re.compile(r"(EXPLAIN )?CREATE (TEMP(ORARY)? )?TRIGGER\b")
# words that begin what follows the type of a column, or a constraint of the table in the place of a column
_NO_TYPE = frozenset(
    "AS CHECK COLLATE CONSTRAINT DEFAULT EXCLUDE FOREIGN GENERATED INDEX KEY NOT NULL PRIMARY REFERENCES UNIQUE".split()
)
_STEPS = 100_000  # of SQLite's machine, for a statement that changes a schema; a usual one takes some hundreds


def schema_of(script: str, dialect: str = SQLITE) -> str:
    """What a prompt shows of a script; a schema in other words than SQL as it is. ValueError if it cannot be read."""
    if dialect == SQLITE:
        return sqlite_schema(script) or script.strip()
    statements = read_script(script, dialect)
    if not any(one.role in (SCHEMA, ROWS) for one in statements):
        return script.strip()
    return foreign_schema(script, dialect)


def sqlite_schema(script: str) -> str:
    """The CREATE statements of a script, one per line, without its rows and without the sizes of types, such as VARCHAR(255):
    SQLite ignores them, and each digit is a token.

    Names, comments, defaults and whatever else is quoted stay as they were written. If statements change or drop what was
    created, the schema is what SQLite then has; those that SQLite does not run are shown as they are.
    """
    statements = list(_statements(script))
    verbs = [next(_words(statement), "") for statement in statements]
    created = [statement for statement, verb in zip(statements, verbs, strict=True) if verb == "CREATE"]
    if "ALTER" in verbs or "DROP" in verbs:
        changes = [statement for statement, verb in zip(statements, verbs, strict=True) if verb in _SCHEMA]
        created = _in_sqlite(changes) or changes
    return "\n".join(map(_in_one_line, created))


_SCHEMA = ("CREATE", "ALTER", "DROP")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; a semicolon inside quotes or a comment ends none, and a trigger ends with END."""
    start = last = 0
    is_trigger = False
    for found in _SEMICOLONS.finditer(script + ";"):
        if found["end"]:
            part, end = script[last : found.start()], found.end()
            if start == last:
                is_trigger = bool(_TRIGGER.match(" ".join(islice(_words(part), 4))))
            last = end
            if not is_trigger or list(_words(part)) == ["END"]:
                if statement := script[start : last - 1].strip():
                    yield f"{statement};"
                start = last
    if rest := script[start:].strip():
        yield rest


def _words(statement: str) -> Iterator[str]:
    """Its tokens, in capitals, without comments and blanks."""
    for token in _TOKENS.finditer(statement):
        if token.lastgroup not in ("comment", "space"):
            yield token[0].upper()


def _in_sqlite(statements: Sequence[str]) -> list[str]:
    """What creates the schema that these statements leave, as SQLite has it; empty if SQLite does not run one of them."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000)
        database.set_progress_handler(lambda: 1, _STEPS)  # CREATE TABLE ... AS SELECT can run for ever
        try:
            for statement in statements:
                database.execute(statement)
            found = database.execute(
                "SELECT sql || ';' FROM (SELECT sql FROM sqlite_master UNION ALL SELECT sql FROM sqlite_temp_master)"
                " WHERE sql IS NOT NULL"
            )
            return [sql for (sql,) in found]
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError):
            return []


def _in_one_line(statement: str) -> str:
    """The statement with single blanks for white space, and comments that do not end with their line. As in SQLite, what stands
    before its first word is not part of it."""
    parts: list[str] = []
    tokens = [(token.lastgroup or "mark", token[0]) for token in _TOKENS.finditer(statement)]
    tokens = list(dropwhile(lambda token: token[0] in ("comment", "space"), tokens))
    left_out = _sizes(tokens)
    for at, (kind, text) in enumerate(tokens):
        if at in left_out:
            continue
        if kind == "comment":
            words = text.removeprefix("--") if text.startswith("--") else text[2:].removesuffix("*/")
            text = f"/* {' '.join(words.replace('*/', '* /').split())} */"
        parts.append(" " if kind == "space" else text)
    return "".join(parts).strip()


def _sizes(tokens: Sequence[tuple[str, str]]) -> set[int]:
    """The positions of the tokens of sizes: numbers in parentheses behind the type of a column of a table."""
    plain = [at for at, (kind, _) in enumerate(tokens) if kind not in ("comment", "space")]
    text = [tokens[at][1] for at in plain]
    found: set[int] = set()
    opened = text.index("(") if "(" in text else len(text)
    head = {word.upper() for word in text[:opened]}
    if "TABLE" not in head or "AS" in head:
        return found
    depth, names = 0, 0  # names: words of the column so far, -1 behind its type
    for at, token in enumerate(text):
        kind = tokens[plain[at]][0]
        if token == "(" and kind == "mark":
            if depth == 1 and names >= 2 and (end := _end_of_size(text, at)):
                # with the blanks before the parenthesis
                found.update(range(plain[at - 1] + 1, plain[end] + 1))
            depth, names = depth + 1, 0 if depth == 0 else -1
        elif token == ")" and kind == "mark":
            depth -= 1
        elif depth == 1 and token == ",":
            names = 0
        elif depth == 1 and names >= 0:
            is_name = kind == "quoted" or (kind == "word" and token.upper() not in _NO_TYPE)
            names = names + 1 if is_name else -1
    return found


def _end_of_size(text: Sequence[str], opened: int) -> int:
    """The position of the parenthesis that ends one or two numbers; 0 if something else stands there."""
    if text[opened + 2 : opened + 3] == [")"] and text[opened + 1].isdigit():
        return opened + 2
    numbers = text[opened + 1 : opened + 4]
    if text[opened + 4 : opened + 5] == [")"] and numbers[1] == "," and (numbers[0] + numbers[2]).isdigit():
        return opened + 4
    return 0
