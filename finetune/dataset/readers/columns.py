"""Rows of Parquet and Arrow files (also Feather, and what datasets saves to disk), by pyarrow in batches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from finetune.dataset.readers import arrow_values
from finetune.dataset.readers.parts import Part
from finetune.dataset.readers.sourced import MOST_FIELDS, SourcedRow, Wanted
from finetune.errors import UserError, first_line
from finetune.records.plain_path import plain_path

_BATCH = 100  # rows
_BATCH_BYTES = 1 << 26


def parquet_rows(part: Part) -> int:
    """How many rows a Parquet file says it has, without reading them: a small file can hold any number."""
    with _opened_parquet(part) as file:
        return int(file.metadata.num_rows)


def read_parquet(part: Part, wanted: Wanted) -> Iterator[SourcedRow]:
    split, number = part.split, 0
    with _explained(part, "Parquet"), _opened_parquet(part) as file:
        step = _rows_at_a_time(file.metadata)
        for batch in file.iter_batches(batch_size=step):
            yield from arrow_values.rows(batch, _place(part, number), split, class_names=wanted.class_names)
            number += len(batch)


def read_arrow(part: Part, wanted: Wanted) -> Iterator[SourcedRow]:
    import pyarrow

    split, number = part.split, 0
    _demand_plain(part, "Arrow")
    with _explained(part, "Arrow"), plain_path(part.path) as path, pyarrow.memory_map(path) as mapped:
        is_file = part.begin.startswith(b"ARROW1")
        reader = pyarrow.ipc.open_file(mapped) if is_file else pyarrow.ipc.open_stream(mapped)
        _demand_few_fields(part, reader.schema)
        batches = (reader.get_batch(at) for at in range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            batch.validate(full=True)  # a damaged offset would lead out of the memory
            for begin in range(0, len(batch), _BATCH):
                some, place = batch.slice(begin, _BATCH), _place(part, number + begin)
                yield from arrow_values.rows(some, place, split, class_names=wanted.class_names)
            number += len(batch)


def _place(part: Part, before: int) -> Callable[[int], str]:
    return lambda number: f"{part.place} row {before + number + 1}"


def _demand_plain(part: Part, what: str) -> None:
    if part.member or part.packing:
        raise UserError(f"{part.place}: {what} in an archive (unpack it: {part.unpack})")


def _rows_at_a_time(metadata: Any) -> int:
    """So many rows that their mean size keeps a batch small."""
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
    return max(1, min(_BATCH, int(_BATCH_BYTES / max(1, largest))))


@contextmanager
def _opened_parquet(part: Part) -> Iterator[Any]:
    """The file, with texts as dictionaries: one that is there once can be the value of all rows."""
    from pyarrow import parquet

    _demand_plain(part, "Parquet")
    with _explained(part, "Parquet"), plain_path(part.path) as path:
        with parquet.ParquetFile(path) as file:
            _demand_few_fields(part, file.schema_arrow)
            texts = _text_columns(file)
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            yield file


def _text_columns(file: Any) -> list[str]:
    columns = [file.schema.column(at) for at in range(len(file.schema))]
    return [column.path for column in columns if column.physical_type == "BYTE_ARRAY" and _is_text(column)]


def _is_text(column: Any) -> bool:
    return column.logical_type.type == "STRING"


def _demand_few_fields(part: Part, schema: Any) -> None:
    if len(schema) > MOST_FIELDS:
        raise UserError(
            f"{part.place}: {len(schema):,} columns, more than the {MOST_FIELDS:,} that a row can have"
            " (keep those that are used)"
        )
    twice = [name for name in schema.names if schema.names.count(name) > 1]
    if twice:
        raise UserError(f"{part.place}: more than one column is named {twice[0]!r} (give each a name of its own)")


@contextmanager
def _explained(part: Part, what: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"{part.place}: cannot be read as {what}: {first_line(error)} (copy or write the file again)"
        ) from None
