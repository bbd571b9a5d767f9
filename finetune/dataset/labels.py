"""Rows with labels: seen as a whole before the first becomes a conversation, and divided so that each label has its share."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from finetune.dataset.candidates import Candidate, Candidates, demand_fields
from finetune.dataset.columns import parsed_columns
from finetune.dataset.near_texts import NearTexts
from finetune.dataset.opening import OpenedPart
from finetune.dataset.spooled import Spooled
from finetune.dataset.store import Store
from finetune.errors import UserError, shortened
from finetune.records.dataset import Labels
from finetune.records.files import SPLITS, Row
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import Asked
from finetune.tasks.classify.columns import LABEL, TEXT
from finetune.terminal import counted

_RARE = 10  # rows of a label, too few to learn it from
_FEW_TESTED = 5  # rows of a label in the test split, too few for a figure
_NAMED = 12  # labels in a line


@dataclass
class Labelled:
    """What is known of the rows with labels, first of all of them, in the end of those that were kept."""

    record: Labels
    notes: list[str]
    near: NearTexts = field(default_factory=NearTexts)

    def see(self, candidate: Candidate) -> None:
        """Remember the text of a row, to find those that are nearly the same."""
        self.near.add(candidate.likeness, candidate.row["messages"][-2]["content"])

    def join(self, store: Store, *, keeps_splits: bool) -> None:
        """Have rows whose texts are nearly the same stay in one split, unless the source has splits of its own."""
        links = list(self.near.links())
        if links:
            groups = len({other for _, other in links})
            moved = len(links) if keeps_splits else store.join(links)
            self.record = replace(self.record, near_rows=moved + groups)
            what = f"{moved + groups} rows with texts that are nearly the same, in {counted(groups, 'group')}"
            kept = (
                "they may be in two splits of the source (--keep-splits)" if keeps_splits else "each kept in one split"
            )
            self.notes.append(f"{what}: {kept}")
        if self.near.full:
            self.notes.append("too many texts to find those that are nearly the same; they may be in several splits")

    def end(self, store: Store, config: DatasetConfig) -> None:
        """Count the rows of each label in each split, and tell which labels have few."""
        rows: dict[str, dict[str, int]] = {label: dict.fromkeys(SPLITS, 0) for label in self.record.rows}
        for label, split, count in store.values(LABEL):
            if str(label) in rows:
                rows[str(label)][split] += count
        self.record = replace(self.record, rows=rows)
        self.notes += _few(rows, config)


def _few(rows: Mapping[str, Mapping[str, int]], config: DatasetConfig) -> Iterator[str]:
    totals = {label: sum(of.values()) for label, of in rows.items()}
    if none := {label: 0 for label, count in totals.items() if not count}:
        yield f"{_labels(none)} without a row that was kept: {_named(none, numbers=False)}"
    if rare := {label: count for label, count in totals.items() if 0 < count < _RARE}:
        yield f"{_labels(rare)} with fewer than {_RARE} rows, too few to learn and to judge: {_named(rare)}"
    if not config.test_fraction and not config.keep_splits:
        return
    tested = {label: of["test"] for label, of in rows.items() if totals[label]}
    if not any(tested.values()):
        return
    if absent := {label: 0 for label, count in tested.items() if not count}:
        yield f"{_labels(absent)} without a row in the test split, so never tested: {_named(absent, numbers=False)}"
    if few := {label: count for label, count in tested.items() if 0 < count < _FEW_TESTED}:
        remedy = "more rows, or a larger --test-fraction"
        yield (
            f"{_labels(few)} with fewer than {_FEW_TESTED} rows in the test split, whose figures will say little:"
            f" {_named(few)} ({remedy})"
        )


def _labels(labels: Mapping[str, int]) -> str:
    return counted(len(labels), "label")


def _named(labels: Mapping[str, int], *, numbers: bool = True) -> str:
    """The labels, the rarest first, with their numbers of rows."""
    ordered = sorted(labels, key=lambda label: labels[label])
    shown = [f"{shortened(label)} {labels[label]}" if numbers else shortened(label) for label in ordered[:_NAMED]]
    more = [f"and {len(ordered) - _NAMED} more"] if len(ordered) > _NAMED else []
    return ", ".join([*shown, *more])


@dataclass(frozen=True)
class _Rows(Iterable[Row]):
    """Those of a source's rows that are rows."""

    spooled: Spooled

    def __iter__(self) -> Iterator[Row]:
        return (sourced.row for sourced in self.spooled if sourced.row is not None)


def ended(labelled: Labelled | None, store: Store, config: DatasetConfig) -> list[str]:
    """What is to be told of the labels once the rows are divided."""
    if labelled is None:
        return []
    labelled.end(store, config)
    return labelled.notes


def surveyed(sources: Sequence[OpenedPart], config: DatasetConfig, found: Candidates) -> Labelled | None:
    """Look at all rows of the sources that have labels, and set how each is read; None if there is no such source.

    UserError if their rows have none, or if it is not clear where.
    """
    labelled = [source for source in sources if source.part.kind.survey]
    if not labelled:
        return None
    kind = labelled[0].part.kind
    assert kind.survey is not None
    columns = {new: old for old, new in parsed_columns(config.column).items()}
    _demand_known(columns, kind.name, alone=len(labelled) == len(sources))
    rows: dict[str, Iterable[Row]] = {}
    for source in labelled:
        spooled = Spooled(source.opened.rows)
        if not spooled.count:
            raise UserError(f"{source.part.name}: it has no rows")
        source.opened = source.opened._replace(rows=spooled)
        rows[source.part.name] = _Rows(spooled)
    asked = Asked(columns, several=config.multi_label, in_prompt=config.labels_in_prompt)
    seen = kind.survey(kind, rows, asked)
    for source, own in zip(labelled, seen.kinds, strict=True):
        source.part = replace(source.part, kind=own)
    if columns or config.split_by:
        found.fields.update(dict.fromkeys(seen.fields))
        demand_fields(config, found)
    return Labelled(seen.labels, list(seen.notes))


def _demand_known(columns: Mapping[str, str], kind: str, *, alone: bool) -> None:
    """UserError if --column names a field that these rows do not have."""
    others = [new for new in columns if new not in (TEXT, LABEL)]
    if others and alone:
        raise UserError(
            f"--column: {kind} rows have no field {others[0]!r} (name the text and the label:"
            f" --column {TEXT}=FIELD,{LABEL}=FIELD)"
        )
