"""Text-to-SQL rows made here: questions over small databases, with the SQL that answers them.

    from finetune.tasks.sql_rows import generate
    for row in generate(1000, seed=0): ...

A *domain* (hospital visits, wind farms, ...) says which tables there are and how people speak of their
columns. A *database* is one seeded instance of a domain: names, types and rows differ from one to the next.
A *pattern* is a kind of question: it looks at a database and returns a question, its SQL, and what must hold
of the answer.

To add a domain, add one ``domain(...)`` to the ``domains_<theme>.py`` of its theme; ``schema.py`` explains
the words. To add a pattern, write one function ``(Database, Voice) -> Query`` beside its like and name it in
``patterns.py``.
"""

from finetune.tasks.sql.rows.patterns import PATTERNS
from finetune.tasks.sql.rows.stream import DOMAINS, generate

__all__ = ["DOMAINS", "PATTERNS", "generate"]
