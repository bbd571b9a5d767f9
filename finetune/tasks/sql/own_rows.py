"""A row of somebody's own, before it becomes a conversation: its dialect, its tables, and its SQL without what is around it."""

import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from finetune.errors import UserError, shortened
from finetune.records.files import Row
from finetune.tasks.base import BadRow
from finetune.tasks.sql.dialects import DIALECTS, SQLITE, own_dialect
from finetune.tasks.sql.scripts import ROWS, SCHEMA, UnreadableScript, read_script, without_harmless

Tell = Callable[[str], None]

LARGEST = 200_000  # bytes of a schema, which every row holds
_FENCE = re.compile(r"\s*(```|~~~)[ \t]*[\w+-]*[ \t]*\n(?P<sql>.*?)\n?[ \t]*\1\s*", re.DOTALL)
_LABEL = re.compile(r"\s*(?:\*\*)?(?:sql|sql query|query|answer)(?:\*\*)?\s*:(?:\*\*)?\s*(?=\S)", re.IGNORECASE)
_PROMPT = re.compile(r"\s*(?:sqlite|mysql|[\w-]+[=-][#>])>?\s+(?=SELECT|WITH|INSERT|UPDATE|DELETE)", re.IGNORECASE)
_NEEDS_TABLES = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+[\w\"`\[]", re.IGNORECASE)
_PATH = re.compile(r"[^\n;()'\"]{1,300}\.(?:sql|ddl|db|sqlite|sqlite3|db3|txt)", re.IGNORECASE)
_SQLITE_FILE = b"SQLite format 3\0"


def prepared(row: Row, mend: Tell, note: Tell, *, dialect: str | None, schema: str | None) -> Row:
    """The row with its dialect, its tables and its bare SQL; ``mend`` is told of repairs, ``note`` of what a dump has besides
    and of missing tables.

    ``dialect`` and ``schema`` are those of --dialect and --schema. Raises ValueError if the row contradicts them.
    """
    own = own_dialect(row)
    if own and dialect and own != dialect:
        raise ValueError(f"its dialect is {own}, but --dialect says {dialect} (omit --dialect: each row's own is used)")
    row = dict(row)
    if (found := own or dialect or SQLITE) != SQLITE:
        row["dialect"] = found
    row["sql"] = _bare(row["sql"], mend)
    context = row.get("sql_context") or ""
    if schema is not None:
        if context.strip() and not _PATH.fullmatch(context.strip()) and context.strip() != schema.strip():
            raise ValueError("it has a sql_context of its own, and --schema is given (omit one of the two)")
        row["sql_context"] = context = schema
    elif _PATH.fullmatch(context.strip()):
        name = shortened(context.strip())
        raise BadRow(f"sql_context is the name of a file, {name!r}, not its statements", lambda _: f"--schema {name}")
    if found == SQLITE:
        row |= _without_settings(context, mend)
    if found != SQLITE and row.get("sql_context"):
        _note_skipped(row["sql_context"], found, note)
    if not (row.get("sql_context") or "").strip() and _NEEDS_TABLES.search(row["sql"]):
        judged = "no answer to it can be judged" if found == SQLITE else "answers are compared with its SQL as text"
        note(f"it has no tables (sql_context, or --schema for all rows), so {judged}")
    return row


def _without_settings(context: str, mend: Tell) -> Mapping[str, str]:
    try:
        context, skipped = without_harmless(context)
    except UnreadableScript:  # it has something that must not run, and SQLite will say so
        return {}
    if not skipped:
        return {}
    mend("settings of a dump (PRAGMA, sqlite_sequence) taken out of sql_context")
    return {"sql_context": context}


def _note_skipped(context: str, dialect: str, note: Tell) -> None:
    try:
        statements = read_script(context, dialect)
    except UnreadableScript as error:
        raise ValueError(f"sql_context {error}") from None
    if any(one.role not in (SCHEMA, ROWS) for one in statements):
        note("statements of sql_context that make no table and hold no row are not shown and not run")


def _bare(sql: str, mend: Tell) -> str:
    """The SQL without a fence, a label or a prompt in front of it."""
    if found := _FENCE.fullmatch(sql):
        sql = found["sql"]
        mend("a fence around the SQL taken off")
    for pattern in (_LABEL, _PROMPT):
        if found := pattern.match(sql):
            sql = sql[found.end() :]
            mend("a label in front of the SQL taken off")
    return sql


def read_schema(path: Path, dialect: str | None) -> tuple[str, str | None]:
    """The statements of a file for --schema, and the dialect of the rows: the given one, which a database must not contradict.

    UserError if the file cannot be read, has no tables, or is of another dialect than the given one.
    """
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise UserError(f"--schema {path}: {what} (give a .sql file or a database of SQLite)")
    try:
        with path.open("rb") as file:
            begin = file.read(len(_SQLITE_FILE))
        if begin == _SQLITE_FILE:
            if dialect not in (None, SQLITE):
                raise UserError(f"--schema {path}: a database of SQLite, but --dialect says {dialect} (omit --dialect)")
            return _of_database(path), dialect
        if path.stat().st_size > LARGEST:
            raise UserError(
                f"--schema {path}: larger than 200 kB (leave out most INSERTs: the CREATE statements are what is shown)"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"--schema {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"--schema {path}: neither UTF-8 text nor a database of SQLite (save it as UTF-8)") from None
    try:
        statements = read_script(text, dialect or SQLITE)
    except UnreadableScript as error:
        raise UserError(f"--schema {path}: {error}{_perhaps(text, dialect)}") from None
    if not any(one.role == SCHEMA for one in statements):
        raise UserError(f"--schema {path}: no CREATE statement (give the statements that create the tables)")
    return text, dialect


def _perhaps(text: str, dialect: str | None) -> str:
    """The first other dialect that can read the script, as a remedy."""
    for other in DIALECTS:
        if other != (dialect or SQLITE):
            try:
                read_script(text, other)
            except UnreadableScript:
                continue
            return f" ({DIALECTS[other]}? --dialect {other})"
    return ""


def _of_database(path: Path) -> str:
    """The statements that made a database of SQLite, with a few rows of each table, as a script."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        try:
            database.execute("PRAGMA trusted_schema = OFF")
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST)
            made = database.execute(
                "SELECT type, name, sql FROM sqlite_master WHERE sql > '' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
                " AND type IN ('table', 'view', 'index') ORDER BY type = 'view', type = 'index', rowid"
            ).fetchall()
            virtual = [name for _, name, sql in made if sql.upper().split()[1:2] == ["VIRTUAL"]]
            if virtual:
                raise UserError(
                    f"--schema {path}: {virtual[0]} is a virtual table (leave it out: sqlite3 FILE .schema)"
                )
            tables = [name for kind, name, _ in made if kind == "table"]
            rows = [line for name in tables for line in _few_rows(database, name)]
        except sqlite3.DataError:  # "string or blob too big"
            raise UserError(
                f"--schema {path}: a value in its first rows is larger than 200 kB (give a .sql file: sqlite3 FILE .schema)"
            ) from None
        except sqlite3.Error as error:
            raise UserError(f"--schema {path}: not readable as a database of SQLite: {error}") from None
    if not tables:
        raise UserError(f"--schema {path}: it has no tables")
    script = "".join(f"{sql};\n" for _, _, sql in made) + "".join(f"{line};\n" for line in rows)
    if len(script) > LARGEST:
        raise UserError(
            f"--schema {path}: its tables make more than 200 kB of statements (give a .sql file of those in use)"
        )
    return script


_FEW = 20  # rows of a table of somebody's database: what the judge takes of any


def _few_rows(database: sqlite3.Connection, table: str) -> list[str]:
    name = '"' + table.replace('"', '""') + '"'
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({name})")]
    quoted = ['"' + column.replace('"', '""') + '"' for column in columns]
    listed, values = ", ".join(quoted), ", ".join(f"quote({column})" for column in quoted)
    rows = database.execute(f"SELECT {values} FROM {name} LIMIT {_FEW}").fetchall()
    return [f"INSERT INTO {name} ({listed}) VALUES ({', '.join(map(str, row))})" for row in rows]
