"""Kinds of rows that depend on all of them: the rows are looked at as a whole before the first becomes a conversation.

A source is read once, so that what was found and what is learned is the same, and its notes are told once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from finetune.dataset.candidates import Candidates, demand_fields
from finetune.dataset.columns import parsed_columns, renamed
from finetune.dataset.opening import OpenedPart
from finetune.dataset.spooled import Spooled
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import RowKind


def fit(sources: Sequence[OpenedPart], config: DatasetConfig) -> None:
    """Give the sources whose kind of rows asks for it the kind that all their rows together make, in place.

    UserError if that cannot be told, or if no row has a field that --column names.
    """
    kinds = {source.part.kind.name: source.part.kind for source in sources if source.part.kind.fitted}
    for name, kind in kinds.items():
        own = [source for source in sources if source.part.kind.name == name]
        spools = [Spooled(source.opened.rows) for source in own]
        found = _fitted(kind, spools, config)
        for source, spool in zip(own, spools, strict=True):
            source.part = replace(source.part, kind=found)
            source.opened = source.opened._replace(rows=iter(spool))


def _fitted(kind: RowKind, spools: Sequence[Spooled], config: DatasetConfig) -> RowKind:
    columns = parsed_columns(config.column)

    def rows() -> Iterator[tuple[str, Row]]:
        for sourced in chain.from_iterable(spools):
            if sourced.row is not None:
                yield sourced.place, renamed(sourced.row, columns, kind, Counter())

    fields = dict.fromkeys(name for sourced in chain.from_iterable(spools) for name in sourced.row or ())
    demand_fields(config, Candidates(fields=fields))
    assert kind.fitted
    if not fields:  # what is wrong with each line is told when they are read
        return kind
    return kind.fitted(_names(config.fields), config.schema, rows)


def _names(fields: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(str.strip, (fields or "").split(",")))))
