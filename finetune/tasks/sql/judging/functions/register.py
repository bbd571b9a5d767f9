"""Adds the functions of other dialects to a connection of SQLite, under names that begin with ft_.

``worker.py`` loads this file by its path, for statements that were translated; standard library only.
"""

import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PREFIX = "ft_"


@cache
def _loaded(name: str) -> SimpleNamespace:
    """What a file beside this one defines: there is no package to import it from."""
    path = Path(__file__).with_name(f"{name}.py")
    names: dict[str, object] = {"__name__": name, "__file__": str(path)}
    exec(compile(path.read_bytes(), str(path), "exec"), names)
    return SimpleNamespace(**names)


SENSITIVE = frozenset("postgres duckdb oracle snowflake bigquery spark".split())  # whose LIKE tells capitals apart


def register(connection: sqlite3.Connection, dialect: str, failures: list[str]) -> None:
    """Add all of them under names that begin with ft_, and LIKE as the dialect has it.

    What one refuses is appended to ``failures``.
    """

    def careful(function: Callable[..., Any], *, strict: bool) -> Callable[..., Any]:
        def called(*values: Any) -> Any:
            if strict and any(value is None for value in values):
                return None
            try:
                return function(*values)
            except (ValueError, TypeError, OverflowError, ArithmeticError, KeyError, AttributeError) as error:
                failures.append(str(error) or type(error).__name__)
                raise

        return called

    dates, texts = _loaded("dates"), _loaded("texts")
    for name, function in {**dates.STRICT, **texts.STRICT}.items():
        connection.create_function(PREFIX + name, -1, careful(function, strict=True), deterministic=True)
    for name, function in texts.LENIENT.items():
        connection.create_function(PREFIX + name, -1, careful(function, strict=False), deterministic=True)
    for name, aggregate in _loaded("aggregates").AGGREGATES.items():
        connection.create_aggregate(PREFIX + name, -1, aggregate)
    sensitive = int(dialect in SENSITIVE)
    like = careful(lambda pattern, value, escape="": texts.like(value, pattern, escape, sensitive), strict=True)
    for arguments in (2, 3):
        connection.create_function("like", arguments, like, deterministic=True)
