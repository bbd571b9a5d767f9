"""What is kept of a row while it is decided what becomes of it."""

from typing import NamedTuple

TABLES = """
PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE body (id INTEGER PRIMARY KEY, place TEXT, text TEXT);
CREATE TABLE key (
    id INTEGER PRIMARY KEY, source INTEGER, split TEXT, prompt BLOB, answer BLOB, other BLOB, likeness BLOB, apart INTEGER
);
CREATE TABLE apart (id INTEGER PRIMARY KEY, value TEXT UNIQUE);
CREATE TABLE seen (prompt BLOB, answer BLOB, other BLOB, taken INTEGER, PRIMARY KEY (prompt, answer, other)) WITHOUT ROWID;
CREATE INDEX claimed ON seen (prompt) WHERE taken = 1;
CREATE TABLE claim (likeness BLOB PRIMARY KEY, split TEXT) WITHOUT ROWID;
CREATE TABLE placed (likeness BLOB PRIMARY KEY, split TEXT) WITHOUT ROWID;
CREATE TABLE verdict (id BLOB PRIMARY KEY, text TEXT) WITHOUT ROWID;
"""


class Stored(NamedTuple):
    """A row as it was stored. The hashes are of 16 bytes; equal texts have equal ones."""

    place: str  # in the source, for messages
    text: str  # the row in JSON, as it will be written
    source: int  # number of the source
    split: str | None  # of the source's own
    prompt: bytes  # hash of the exact prompt
    answer: bytes  # hash of the answer
    other: (
        bytes  # hash of what else tells two rows with this prompt and answer apart, such as the worse answer of a pair
    )
    likeness: bytes  # hash of what must stay in one split: prompts that differ only in case, white space or punctuation
    apart: str = ""  # the value of --split-by
    at: int = 0  # position in the sampled order, from 1


class Taken(NamedTuple):
    """A row that was taken."""

    tokens: int | None  # None without tokenizer
    assistant: int  # turns of the assistant
    learned: int  # of them
    context: int  # of them
    rewritten: int | None  # of them, by the chat template
    at: int  # its position
