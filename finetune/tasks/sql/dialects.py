"""The dialects of SQL that rows can be written in, by sqlglot's names, and which of them a row is in."""

from collections.abc import Mapping

SQLITE = "sqlite"
DIALECTS = {  # --dialect -> its name in a prompt
    SQLITE: "SQLite",
    "postgres": "PostgreSQL",
    "mysql": "MySQL",
    "tsql": "T-SQL",
    "duckdb": "DuckDB",
    "bigquery": "BigQuery",
    "snowflake": "Snowflake",
    "oracle": "Oracle",
    "spark": "Spark SQL",
}
FIELDS = ("dialect", "db_type")  # of a row: the first that has a value counts
_OTHER_NAMES = {
    "sqlite3": SQLITE,
    "postgresql": "postgres",
    "pg": "postgres",
    "psql": "postgres",
    "mariadb": "mysql",
    "mssql": "tsql",
    "sqlserver": "tsql",
    "transactsql": "tsql",
    "sparksql": "spark",
    "databricks": "spark",
    "googlesql": "bigquery",
    "plsql": "oracle",
}


def canonical(name: str) -> str:
    """The name of a dialect as ``DIALECTS`` has it; ValueError if it is none."""
    plain = "".join(character for character in name.lower() if character.isalnum())
    found = _OTHER_NAMES.get(plain, plain)
    if found not in DIALECTS:
        raise ValueError(f"unknown dialect {name!r} (choose from {', '.join(DIALECTS)})")
    return found


def own_dialect(row: Mapping[str, object]) -> str | None:
    """The dialect that a row itself names; None if it names none. ValueError if it is unknown."""
    for field in FIELDS:
        value = row.get(field)
        if isinstance(value, str) and value.strip():
            try:
                return canonical(value)
            except ValueError as error:
                raise ValueError(f"{field}: {error}") from None
    return None


def dialect_of(row: Mapping[str, object]) -> str:
    """The dialect of a row; SQLite if it names none."""
    return own_dialect(row) or SQLITE
