"""The builtin text-to-SQL rows: questions about small databases, with the SQL that answers them.

    from finetune.tasks.sql.rows import generate
    for row in generate(1000, seed=0): ...

Frozen: the same seed gives the same bytes in every version, so that runs of different versions can be compared. Add no
domains or patterns and change no wording; rows for another purpose belong in a file of the user's.

A *domain* (hospital visits, wind farms, ...) defines the tables and the words for their columns; ``schema.py`` explains
the terms. A *database* is one seeded instance of a domain: names, types and rows differ from one to the next. A *pattern* is
a kind of question: a function from a database to a question, its SQL, and what must hold of the answer.
"""

from finetune.tasks.sql.rows.patterns import PATTERNS
from finetune.tasks.sql.rows.stream import DOMAINS, generate

__all__ = ["DOMAINS", "PATTERNS", "generate"]
