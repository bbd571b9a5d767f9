"""The rows of a source between reading and writing, in a private temporary database: memory stays the same for any number."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from finetune.dataset import connected
from finetune.dataset.database import Database
from finetune.dataset.stored import TABLES, Stored, Taken
from finetune.records.dataset import Turns

_TOGETHER = 500  # rows that are written, or read, at once
_FIRST_CHOICE = "CASE split WHEN 'test' THEN 0 WHEN 'valid' THEN 1 ELSE 2 END"


class Store(Database):
    """Rows by number, later in sampled order. UserError (exit 4) if the disk is full.

    Add rows; ``connect`` them if those with one value of --split-by belong together; ``order`` them; then look at those that
    are ``waiting``, and ``take`` or ``drop`` each.
    """

    def __init__(self, seed: int):
        self._seed, self._prefix = seed, ""
        self._added: list[Stored] = []
        self.count = 0  # rows that were added
        self.splits: set[tuple[int, str]] = set()  # the source's own, with the number of the source
        super().__init__(TABLES)
        self._db.create_function("draw", -1, self._draw, deterministic=True)

    def _draw(self, prefix: str, *keys: bytes) -> bytes:
        """What a row is sorted by: it depends on the seed and on the keys alone."""
        return hashlib.sha256(f"{self._seed} {prefix}{b''.join(keys).hex()}".encode()).digest()[:16]

    def add(self, row: Stored) -> None:
        self._added.append(row)
        self.count += 1
        if row.split:
            self.splits.add((row.source, row.split))
        if len(self._added) >= _TOGETHER:
            self._flush()

    def _flush(self) -> None:
        first = self.count - len(self._added) + 1
        aparts = dict.fromkeys(row.apart for row in self._added)
        self._many("INSERT OR IGNORE INTO apart (value) VALUES (?)", ((apart,) for apart in aparts))
        numbered = list(enumerate(self._added, start=first))
        # the name of a file can be any bytes
        places = (row.place.encode(errors="backslashreplace").decode() for row in self._added)
        bodies = ((at, place, row.text) for (at, row), place in zip(numbered, places, strict=True))
        self._many("INSERT INTO body VALUES (?, ?, ?)", bodies)
        self._many(
            "INSERT INTO key VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT id FROM apart WHERE value = ?))",
            (
                (number, row.source, row.split, row.prompt, row.answer, row.other, row.likeness, row.apart)
                for number, row in numbered
            ),
        )
        self._added.clear()

    def connect(self) -> None:
        """Give all rows that are connected through equal prompts, or equal values of --split-by, one likeness: the smallest."""
        self._flush()
        ((count,),) = self._select("SELECT COUNT(*) FROM apart")
        links = self._select("SELECT DISTINCT likeness, apart FROM key ORDER BY likeness")
        components = enumerate(connected.tops(count, links))
        self._run("CREATE TABLE component (apart INTEGER PRIMARY KEY, top INTEGER)")
        self._many("INSERT INTO component VALUES (?, ?)", components)
        self._run("CREATE TABLE smallest (top INTEGER PRIMARY KEY, likeness BLOB)")
        self._run("INSERT INTO smallest SELECT top, MIN(likeness) FROM key JOIN component USING (apart) GROUP BY top")
        self._run(
            "UPDATE key SET likeness = (SELECT likeness FROM component JOIN smallest USING (top)"
            " WHERE component.apart = key.apart)"
        )
        self._prefix = "30"  # older versions ordered the two kinds of links by their first digits

    def join(self, links: Iterable[tuple[bytes, bytes]]) -> int:
        """Give rows of the first likeness of a link the second one; how many rows those are. Before ``connect``."""
        self._flush()
        self._run("CREATE INDEX IF NOT EXISTS alike ON key (likeness)")
        return sum(self._run("UPDATE key SET likeness = ? WHERE likeness = ?", to, of).rowcount for of, to in links)

    def order(self, *, as_read: bool = False) -> None:
        """Sort the rows: by the source's own split, the one to train on last, then by seed. Rows alike stand together;
        ``as_read``: in the order in which they were read."""
        self._flush()
        self._run(
            "CREATE TABLE row (at INTEGER PRIMARY KEY, id INTEGER, source INTEGER, split TEXT, prompt BLOB, answer BLOB,"
            " other BLOB, likeness BLOB, state INTEGER DEFAULT 0, part TEXT,"
            " tokens INTEGER, assistant INTEGER, learned INTEGER, context INTEGER, rewritten INTEGER)"
        )
        rank = f"{_FIRST_CHOICE}, " if self.splits else ""
        alike = "" if as_read else "draw('', prompt, answer), draw('', other), "
        self._run(
            "INSERT INTO row (id, source, split, prompt, answer, other, likeness)"
            " SELECT id, source, split, prompt, answer, other, likeness FROM key"
            f" ORDER BY {rank}draw('{self._prefix}', likeness), {alike}id"
        )
        self._run("DROP TABLE key")
        self._run("CREATE INDEX same ON row (prompt, answer, other)")

    def waiting(
        self, *, after: int = 0, source: int | None = None, split: str | None = None, bodies: bool = True
    ) -> list[Stored]:
        """The next rows in sampled order, of one source or split if it is given, that were neither taken nor dropped.

        Without ``bodies`` their texts are empty.
        """
        text = "body.text" if bodies else "''"
        found = self._select(
            f"SELECT place, {text}, source, split, prompt, answer, other, likeness, '', at FROM row JOIN body USING (id)"
            " WHERE at > ? AND state = 0 AND (? IS NULL OR source = ?) AND (? IS NULL OR COALESCE(row.split, 'train') = ?)"
            f" ORDER BY at LIMIT {_TOGETHER}",
            *(after, source, source, split, split),
        )
        return [Stored(*values) for values in found]

    def decide(self, taken: Iterable[Taken], dropped: Iterable[int]) -> None:
        """Take rows, and drop those at these positions. What is taken is in its source's own split, or to train on."""
        self._many(
            "UPDATE row SET state = 1, part = COALESCE(split, 'train'), tokens = ?, assistant = ?, learned = ?, context = ?,"
            " rewritten = ? WHERE at = ?",
            taken,
        )
        self._many("UPDATE row SET state = 2 WHERE at = ?", ((at,) for at in dropped))

    def trim(self, source: int, part: str, keep: int) -> int:
        """Give back the rows of a source's split but for the first ``keep`` in sampled order; how many those are."""
        first = "SELECT at FROM row WHERE state = 1 AND source = ? AND part = ? ORDER BY at LIMIT 1 OFFSET ?"
        of_part = (source, part)
        return self._run(
            f"UPDATE row SET state = 3 WHERE state = 1 AND source = ? AND part = ? AND at >= ({first})",
            *(*of_part, *of_part, keep),
        ).rowcount

    def lengths(self) -> Counter[int]:
        """How many of the rows taken have how many tokens, if those were counted."""
        return Counter(
            dict(
                self._select(
                    "SELECT tokens, COUNT(*) FROM row WHERE state = 1 AND tokens IS NOT NULL GROUP BY tokens ORDER BY tokens"
                )
            )
        )

    def turns(self) -> Turns:
        """The turns of the assistant in the rows taken."""
        sums = ", ".join(f"SUM({name})" for name in ("assistant", "learned", "context", "rewritten"))
        ((assistant, learned, context, rewritten),) = self._select(f"SELECT {sums} FROM row WHERE state = 1")
        return Turns(assistant or 0, learned or 0, context or 0, rewritten)

    def note(self, row: Stored, *, taken: bool) -> None:
        """Remember the row's prompt and answer; ``taken``: it claims its prompt."""
        self._run(
            "INSERT INTO seen VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET taken = MAX(taken, excluded.taken)",
            *(row.prompt, row.answer, row.other, taken),
        )

    def was_seen(self, row: Stored) -> bool:
        """Whether a row with this prompt, this answer and what else tells it apart was noted."""
        key = (row.prompt, row.answer, row.other)
        return bool(self._run("SELECT 1 FROM seen WHERE prompt = ? AND answer = ? AND other = ?", *key).fetchone())

    def is_claimed(self, prompt: bytes) -> bool:
        """Whether a row with this prompt was noted as taken."""
        return bool(self._run("SELECT 1 FROM seen WHERE prompt = ? AND taken = 1 LIMIT 1", prompt).fetchone())

    def claim(self, likeness: bytes, split: str) -> None:
        self._run("INSERT OR REPLACE INTO claim VALUES (?, ?)", likeness, split)

    def claimed(self, likeness: bytes) -> str | None:
        """The split that has the rows of this likeness so far."""
        found = self._run("SELECT split FROM claim WHERE likeness = ?", likeness).fetchone()
        return found[0] if found else None

    def verdict(self, key: bytes) -> str | None:
        found = self._run("SELECT text FROM verdict WHERE id = ?", key).fetchone()
        return found[0] if found else None

    def add_verdicts(self, verdicts: Iterable[tuple[bytes, str]]) -> None:
        self._many("INSERT OR REPLACE INTO verdict VALUES (?, ?)", verdicts)

    def texts_with_prompt(self, prompt: bytes) -> list[str]:
        """All rows with this prompt, in sampled order."""
        found = self._select("SELECT text FROM row JOIN body USING (id) WHERE prompt = ? ORDER BY at", prompt)
        return [text for (text,) in found]

    def replace_text(self, at: int, text: str) -> None:
        self._run("UPDATE body SET text = ? WHERE id = (SELECT id FROM row WHERE at = ?)", text, at)

    def prompts_with_several_answers(self, most: int) -> tuple[int, list[str]]:
        """How many prompts have more than one answer, and the first places of ``most`` of them."""
        several = "SELECT MIN(at) AS at FROM row GROUP BY prompt HAVING MIN(answer || other) <> MAX(answer || other)"
        ((count,),) = self._select(f"SELECT COUNT(*) FROM ({several})")
        places = self._select(
            f"SELECT place FROM ({several}) JOIN row USING (at) JOIN body USING (id) ORDER BY id LIMIT ?", most
        )
        return count, [place for (place,) in places]

    def drop_contradictions(self, source: int) -> list[str]:
        """Drop the rows of a source whose prompts have several answers; the places of all."""
        several = "SELECT prompt FROM row GROUP BY prompt HAVING MIN(answer) <> MAX(answer)"
        where = f"state = 0 AND source = ? AND prompt IN ({several})"
        places = self._select(f"SELECT place FROM row JOIN body USING (id) WHERE {where} ORDER BY id", source)
        found = [place for (place,) in places]
        self._run(f"UPDATE row SET state = 2 WHERE {where}", source)
        return found

    def taken(self, source: int | None = None, part: str | None = None) -> int:
        """How many rows were taken, of one source or of one split if it is given."""
        ((count,),) = self._select(
            "SELECT COUNT(*) FROM row WHERE state = 1 AND source = IFNULL(?, source) AND part = IFNULL(?, part)",
            *(source, part),
        )
        return int(count)

    def groups(self) -> int:
        """How many likenesses the rows taken have."""
        ((count,),) = self._select("SELECT COUNT(DISTINCT likeness) FROM row WHERE state = 1")
        return int(count)

    def common_value(self, name: str) -> str | None:
        """The value of a field if all rows that were taken have it, and the same."""
        found = list(
            self._select(
                "SELECT DISTINCT json_extract(text, ?) FROM row JOIN body USING (id) WHERE state = 1 LIMIT 2",
                f"$.{name}",
            )
        )
        return found[0][0] if len(found) == 1 else None

    def runs(self, source: int, field: str = "") -> Iterator[tuple[bytes, str, int]]:
        """The rows of a source that are to be divided, in sampled order: of each likeness the value of a field in its first row
        (a list as JSON), and how many there are."""
        value, body = (f"json_extract(text, '$.{field}')", "JOIN body USING (id)") if field else ("''", "")
        where = "state = 1 AND part = 'train' AND source = ?"
        found = self._select(f"SELECT likeness, {value} FROM row {body} WHERE {where} ORDER BY at", source)
        for likeness, together in groupby(found, key=lambda row: row[0]):
            values = [value for _, value in together]
            yield likeness, str(values[0]), len(values)

    def values(self, field: str) -> Iterator[tuple[Any, ...]]:
        """The values of a field of the rows taken, or the items of lists, by split, and how many rows have each."""
        rows = f"row JOIN body USING (id), json_each(text, '$.{field}')"
        yield from self._select(f"SELECT value, part, COUNT(*) FROM {rows} WHERE state = 1 GROUP BY value, part")

    def place(self, likeness: bytes, split: str) -> None:
        """Remember the split of a likeness for ``move`` and for the sources that come later."""
        self._run("INSERT OR IGNORE INTO placed VALUES (?, ?)", likeness, split)

    def place_all(self, source: int, *, but: str) -> None:
        """Place what is in the splits that the source has of its own, but for one."""
        self._run(
            "INSERT OR IGNORE INTO placed SELECT likeness, part FROM row WHERE state = 1 AND source = ? AND part <> ?",
            *(source, but),
        )

    def placed(self, likeness: bytes) -> str | None:
        found = self._run("SELECT split FROM placed WHERE likeness = ?", likeness).fetchone()
        return found[0] if found else None

    def move(self, source: int) -> None:
        """Move the source's rows to train to the splits in which their likeness was placed."""
        self._run(
            "UPDATE row SET part = (SELECT split FROM placed WHERE placed.likeness = row.likeness)"
            " WHERE state = 1 AND part = 'train' AND source = ?"
            " AND likeness IN (SELECT likeness FROM placed WHERE split <> 'train')",
            source,
        )

    def move_last(self, source: int, split: str, count: int) -> tuple[Stored | None, Stored | None]:
        """Move the last ``count`` of the source's rows to train to a split; the row before them, and the first of them."""
        last = self._select(
            "SELECT place, text, source, split, prompt, answer, other, likeness, '', at FROM row JOIN body USING (id)"
            " WHERE state = 1 AND part = 'train' AND source = ? ORDER BY at DESC LIMIT 2 OFFSET ?",
            *(source, max(0, count - 1)),
        )
        found = [Stored(*values) for values in last]
        if not count or not found:
            return None, None
        first, before = found[0], found[1] if len(found) > 1 else None
        self._run(
            "UPDATE row SET part = ? WHERE state = 1 AND part = 'train' AND source = ? AND at >= ?",
            *(split, source, first.at),
        )
        return before, first

    def texts(self, part: str, source: int | None = None, first: int = 0, count: int = -1) -> Iterator[str]:
        """The rows of a split as JSON, once all are divided, ``count`` of them from number ``first`` on."""
        self._run("CREATE INDEX IF NOT EXISTS of_part ON row (part, at) WHERE state = 1")
        found = self._select(
            "SELECT text FROM row JOIN body USING (id) WHERE state = 1 AND part = ? AND (? IS NULL OR source = ?)"
            " ORDER BY at LIMIT ? OFFSET ?",
            *(part, source, source, count, first),
        )
        return (text for (text,) in found)
