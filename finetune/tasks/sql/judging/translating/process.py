"""The process that translates: lines of JSON on stdin and stdout. ``translation.py`` starts it, and ends it if it is late.

A request is {"dialect", "context", "sql"}, a reply {"script", "sql", "normal"}; {"error", "message", "part"} if the dialect's
own engine would refuse it; {"untranslated", "part", "normal"} if SQLite cannot do the same. ``part`` is "context" or "sql".
"""

import json
import logging
import sys
from collections.abc import Mapping
from functools import lru_cache

try:
    import resource
except ImportError:  # not a POSIX system: the parent's clock remains
    resource = None  # type: ignore[assignment]

ADDRESS_SPACE_BYTES = 1024 * 2**20
CONTEXTS = 16  # that are kept translated: those used last


def reply(request: Mapping[str, str]) -> dict[str, str]:
    from finetune.tasks.sql.judging.translating.names import demand_own_words
    from finetune.tasks.sql.judging.translating.statement import normal_form, parsed, translated
    from finetune.tasks.sql.judging.translating.tables import Tables, Untranslated, Wrong

    dialect, sql = request["dialect"], request["sql"]
    made = _context(request["context"], dialect)
    found: dict[str, str] = {}
    try:
        if isinstance(made, dict):
            if "error" in made:
                return made
            tables = Tables(dialect)
        else:
            found["script"], tables = made
        if not sql:
            return found if not isinstance(made, dict) else made
        demand_own_words(sql, dialect)
        parsed(sql, dialect)
        found["normal"] = normal_form(sql, tables)
        if isinstance(made, dict):
            return {**found, **made}
        return {**found, "sql": translated(sql, tables)}
    except Wrong as error:
        return {"error": error.kind, "message": str(error), "part": "sql", **found}
    except Untranslated as error:
        return {"untranslated": str(error), "part": "sql", **found}
    except (RecursionError, MemoryError):
        return {"error": "too_large", "message": "too deeply nested", "part": "sql"}


@lru_cache(maxsize=CONTEXTS)
def _context(context: str, dialect: str):  # type: ignore[no-untyped-def]
    from finetune.tasks.sql.judging.translating.script import translated_script
    from finetune.tasks.sql.judging.translating.tables import Untranslated, Wrong
    from finetune.tasks.sql.scripts import UnreadableScript

    try:
        return translated_script(context, dialect)
    except UnreadableScript as error:
        return {"error": "parse_error", "message": str(error), "part": "context"}
    except Wrong as error:
        return {"error": error.kind, "message": str(error), "part": "context"}
    except Untranslated as error:
        return {"untranslated": str(error), "part": "context"}
    except (RecursionError, MemoryError):
        return {"error": "too_large", "message": "too deeply nested", "part": "context"}


def main() -> None:
    if resource is not None:
        for name, value in (("RLIMIT_AS", ADDRESS_SPACE_BYTES), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
            try:
                resource.setrlimit(getattr(resource, name), (value, value))
            except (AttributeError, ValueError, OSError):  # macOS knows RLIMIT_AS and refuses to set it
                continue
    logging.disable(logging.CRITICAL)  # sqlglot warns of what it reads as a command
    import finetune.tasks.sql.judging.translating.script  # noqa: F401 - before the first request's clock runs

    print("[]", flush=True)
    for line in sys.stdin:
        print(json.dumps(reply(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
