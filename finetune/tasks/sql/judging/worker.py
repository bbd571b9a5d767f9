"""Runs model-written SQL in a process of its own: ``python -I -S worker.py``, JSON lines on stdin and stdout.

Every statement gets a fresh in-memory SQLite database, made by a script (CREATE, ALTER, DROP and INSERT only) and committed
before the statement runs. What the statement may do is decided by SQLite's authorizer, never by looking at its text.
``execution.py`` starts this file and kills it if it is late. The first line, written before any request, says that it is
ready. Standard library only; of ours it loads ``functions/register.py``, by its path, for statements that were translated from
another dialect.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # not a POSIX system: SQLite's own limits and the parent's clock remain
    resource = None  # type: ignore[assignment]

HEAP_BYTES = 64 * 2**20  # all that SQLite may allocate
DATA_BYTES = 160 * 2**20  # all that the process may: one row within HEAP_BYTES can be four times as large in Python
ADDRESS_SPACE_BYTES = 1024 * 2**20
CPU_SECONDS = 20  # for one request
MAX_ROWS, MAX_RESULT_BYTES = 10_000, 2 * 2**20
MAX_LENGTH = 1_000_000  # bytes of a script, a statement, a value
STEPS_PER_CHECK = 5_000  # instructions of SQLite's virtual machine between two looks at the clock

LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: MAX_LENGTH,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: MAX_LENGTH,
    sqlite3.SQLITE_LIMIT_COLUMN: 200,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 250_000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 50,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1_000,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}

LATE = {"error": "timeout", "message": "no time was left for it"}
NOT_INTERNAL = "name NOT LIKE 'sqlite~_%' ESCAPE '~'"

QUERY = {"SELECT", "READ", "FUNCTION", "RECURSIVE"}
WRITE = QUERY | {"INSERT", "UPDATE", "DELETE"}
CHANGES = {"ALTER_TABLE", "DROP_TABLE", "DROP_INDEX", "DROP_VIEW"}
SCRIPT = QUERY | CHANGES | {"INSERT", "CREATE_TABLE", "CREATE_INDEX", "CREATE_VIEW", "REINDEX", "TRANSACTION"}
DENIED = "ATTACH DETACH PRAGMA ANALYZE SAVEPOINT CREATE_TRIGGER CREATE_VTABLE".split()  # named in messages
ACTIONS = {getattr(sqlite3, f"SQLITE_{name}"): name for name in [*SCRIPT, *WRITE, *DENIED]}

# They reach files, or make a value of any size out of a short text.
FORBIDDEN_FUNCTIONS = set(
    "load_extension printf format zeroblob randomblob readfile writefile edit fts3_tokenizer".split()
)

KINDS = {  # words of a message of SQLite or of sqlite3 -> the class of the failure; the first found counts
    "no such table": "unknown_table",
    "no such column": "unknown_column",
    "has no column named": "unknown_column",
    "no such function": "unknown_function",
    "only execute one statement": "multiple_statements",
    "interrupted": "timeout",
    "too big": "too_large",
    "too large": "too_large",
    "too many": "too_large",
    "stack overflow": "too_large",
    "incomplete input": "parse_error",
    "unrecognized token": "parse_error",
    "syntax error": "parse_error",
    "null character": "parse_error",
}


class Authorizer:
    """SQLite asks it about each action it compiles. It keeps what it denied, and the functions named."""

    def __init__(self) -> None:
        self.allowed = SCRIPT
        self.denied = ""
        self.changing = False  # whether the statement alters or drops what the script made
        self.functions: set[str] = set()
        self.refused: list[str] = []  # what functions of other dialects said of their arguments

    def __call__(
        self, code: int, name: str | None, detail: str | None, database: str | None, trigger: str | None
    ) -> int:
        action = ACTIONS.get(code, f"action {code}")
        allowed = action in self.allowed
        if self.allowed is SCRIPT and action in CHANGES:
            self.changing = True
        if action == "FUNCTION":
            action = (detail or "").lower()
            self.functions.add(action)
            allowed = action not in FORBIDDEN_FUNCTIONS
        elif action in ("INSERT", "UPDATE", "DELETE") and (name or "").lower().startswith("sqlite_"):
            # CREATE itself writes to sqlite_master; SQLite refuses it to a statement that asks for it
            action, allowed = "a change of the schema", self.allowed is SCRIPT
        if self.changing and (action in ("printf", "DELETE") or (action, name) == ("PRAGMA", "quick_check")):
            allowed = True  # what SQLite itself does for the change
        if not allowed:
            self.denied = self.denied or action
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


@cache
def functions() -> Any:
    """The module that adds the functions of other dialects."""
    spec = spec_from_file_location("register", Path(__file__).parent / "functions" / "register.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def open_database(script: str, authorizer: Authorizer, deadline: float, dialect: str) -> sqlite3.Connection:
    """A new in-memory database with the script run and committed. Raises what sqlite3 raises."""
    connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
    try:
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA hard_heap_limit = {HEAP_BYTES}")
        for limit, value in LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_PER_CHECK)
        connection.set_authorizer(authorizer)
        if dialect != "sqlite":
            functions().register(connection, dialect, authorizer.refused)
        if not any(verb in script.upper() for verb in ("ALTER", "DROP")):
            connection.executescript(script)
        else:  # one by one: a statement that changes what another has made is allowed more
            for statement in statements(script):
                authorizer.changing = False
                connection.execute(statement)
            authorizer.changing = False  # what comes after the script may change nothing
        if connection.in_transaction:
            connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def statements(script: str) -> Iterator[str]:
    """The script statement by statement, by SQLite's own rule of where one ends."""
    begun = ""
    for part in script.split(";"):
        begun += f"{part};"
        if sqlite3.complete_statement(begun):
            yield begun
            begun = ""
    if begun := begun.removesuffix(";"):
        yield begun


def fetch(cursor: sqlite3.Cursor) -> list[list[Any]]:
    """All rows, a blob as ``{"blob": hexadecimal}``. Raises MemoryError past the limits on rows and bytes."""
    rows: list[list[Any]] = []
    size = 0
    for row in cursor:  # one at a time: 200 long values make 20 MB
        size += sum(8 + len(value) if isinstance(value, str | bytes) else 8 for value in row)
        rows.append([{"blob": value.hex()} if isinstance(value, bytes) else value for value in row])
        if len(rows) > MAX_ROWS or size > MAX_RESULT_BYTES:
            raise MemoryError(f"more than {MAX_ROWS} rows or {MAX_RESULT_BYTES} bytes")
    return rows


def describe(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Every table with its columns, keys and rows. Lifts the authorizer: these statements are ours."""
    connection.set_authorizer(None)

    def select(sql: str, *values: str) -> list[list[Any]]:
        return fetch(connection.execute(sql, values))

    tables = []
    for (name,) in select(f"SELECT name FROM sqlite_master WHERE type = 'table' AND {NOT_INTERNAL}"):
        columns = select('SELECT name, type, "notnull" FROM pragma_table_info(?)', name)
        unique = [[column for (column,) in select("SELECT name FROM pragma_table_info(?) WHERE pk", name)]]
        for (index,) in select('SELECT name FROM pragma_index_list(?) WHERE "unique"', name):
            unique.append([column for (column,) in select("SELECT name FROM pragma_index_info(?)", index)])
        foreign = select('SELECT "from", "table", "to" FROM pragma_foreign_key_list(?)', name)
        names = ", ".join(quote(column[0]) for column in columns)
        rows = select(f"SELECT {names} FROM {quote(name)}")
        tables.append({"name": name, "columns": columns, "unique": unique, "foreign": foreign, "rows": rows})
    return tables


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def run(script: str, sql: str | None, deadline: float, dialect: str, *, write: bool) -> dict[str, object]:
    """One statement on a fresh database: its rows, or with ``write`` every table's rows after it.

    Without a statement it describes the database. A failure is a dict with ``error``, its class.
    """
    authorizer = Authorizer()
    connection = None
    try:
        connection = open_database(script, authorizer, deadline, dialect)
        if sql is None:
            schema = fetch(connection.execute(f"SELECT type, sql FROM sqlite_master WHERE sql > '' AND {NOT_INTERNAL}"))
            return {
                "schema": schema,
                "tables": describe(connection),
                "functions": sorted(authorizer.functions),
            }
        authorizer.functions.clear()
        authorizer.allowed = WRITE if write else QUERY
        cursor = connection.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        reply: dict[str, object] = {"rows": fetch(cursor), "columns": len(names), "names": names}
        if write:
            reply = {"tables": {table["name"]: table["rows"] for table in describe(connection)}}
        return reply | {"functions": sorted(authorizer.functions)}
    except (sqlite3.Error, sqlite3.Warning, MemoryError, ValueError) as error:
        return classify(error, authorizer)
    finally:
        if connection is not None:
            connection.close()


def classify(error: Exception, authorizer: Authorizer) -> dict[str, object]:
    if denied := authorizer.denied:
        return {"error": "forbidden", "message": f"{denied} is not allowed", "denied": denied}
    if isinstance(error, MemoryError):
        return {"error": "too_large", "message": str(error) or "out of memory"}
    if isinstance(error, ValueError):  # a NUL or half a surrogate pair in the text
        return {"error": "parse_error", "message": str(error)}
    message = str(error)
    if "user-defined" in message and authorizer.refused:
        return {"error": "other_sql_error", "message": authorizer.refused[-1]}
    kind = next((kind for words, kind in KINDS.items() if words in message), "other_sql_error")
    return {"error": kind, "message": message}


def limit_process() -> None:
    """Memory for the process; no file may grow and no core be dumped."""
    limits = {"RLIMIT_DATA": DATA_BYTES, "RLIMIT_AS": ADDRESS_SPACE_BYTES, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, value in limits.items():
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):  # macOS refuses both limits of memory
            continue


def limit_processor_time() -> None:
    """For the next request: RLIMIT_CPU counts from the process's start, so the soft limit moves along."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(usage.ru_utime + usage.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def main() -> None:
    if resource is not None:
        limit_process()
    print("[]", flush=True)
    for line in sys.stdin:
        if resource is not None:
            limit_processor_time()
        request = json.loads(line)
        deadline = time.monotonic() + request["seconds"]
        sys.stdout.write("[")
        for number, (script, sql) in enumerate(request["runs"]):
            late = time.monotonic() > deadline
            reply = LATE if late else run(script, sql, deadline, request["dialect"], write=request["write"])
            sys.stdout.write(", " * bool(number) + json.dumps(reply))  # each at once: no two results in memory
            if request["stop"] and "error" in reply:
                break
        print("]", flush=True)


if __name__ == "__main__":
    main()
