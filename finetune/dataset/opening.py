"""Opening the sources of rows, and refusing the flags that have no effect on them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from finetune.dataset import splits
from finetune.dataset.hub_choice import CARD
from finetune.dataset.hub_rows import read_for
from finetune.dataset.mixture import BUILTIN, Part
from finetune.dataset.readers.sourced import SourcedRow
from finetune.dataset.sources import Opened, looks_local, read_local, wanted_of
from finetune.dataset.store import Store
from finetune.errors import UserError, path_of
from finetune.models.hub import hub_problem
from finetune.records.dataset import PartOfRows, Source
from finetune.records.files import REJECTED, SPLITS, check_apart, split_file
from finetune.settings.config import DatasetConfig
from finetune.settings.fields import flag
from finetune.tasks.base import RowKind

FALLING_BACK = "{}. Using the builtin rows instead (--dataset-name builtin avoids this message)."
BUILTIN_ROWS = 2000  # of a kind, unless --sample-size says how many


def refuse_for(parts: Sequence[Part], config: DatasetConfig) -> None:
    """UserError if a flag has no effect on any of the sources, or would mean something else for each."""
    kinds = [part.kind for part in parts]
    types = f"--type {kinds[0].name}" if len({kind.name for kind in kinds}) == 1 else "rows of these types"
    if not any(kind.conversations for kind in kinds):
        refuse(config, ("learn", "thinking"), types)
    elif all(kind.scored_as for kind in kinds):
        refuse(config, ("learn",), types)
    if all(kind.plain_text for kind in kinds):
        refuse(config, ("same_prompt",), types)
    if not any(kind.open_checker for kind in kinds):
        refuse(config, ("check_answers",), types)
    if config.system and all(kind.writes_system or kind.plain_text for kind in kinds):
        why = "which have no messages" if kinds[0].plain_text else "which have the system message of their task"
        raise UserError(f"--system has no effect with {types}, {why} (omit it, or use --type chat)")
    if not any(kind.configured for kind in kinds):
        refuse(config, ("dialect",), types)
    if not any(kind.survey for kind in kinds):
        refuse(config, ("multi_label", "labels_in_prompt"), types)
    if not any(kind.configured or kind.fitted for kind in kinds):
        refuse(config, ("schema",), types)
    if not any(kind.fitted for kind in kinds):
        refuse(config, ("fields",), types)
    if config.schema and len({kind.name for kind in kinds if kind.configured or kind.fitted}) > 1:
        raise UserError(
            "--schema is of sql rows or of extract rows, and there are both (prepare each in its own --output-dir)"
        )
    on_hub = [part for part in parts if part.name != BUILTIN and not looks_local(part.name)]
    if not on_hub:
        refuse(config, ("revision", "subset", "split"), "a local file" if len(parts) == 1 else "sources on this disk")
    for name in ("revision", "subset", "split"):
        if len(on_hub) > 1 and getattr(config, name):
            raise UserError(
                f"{flag(name)} is of one dataset on the Hub, and there are {len(on_hub)} (prepare one of them alone, with"
                " --valid-fraction 0 --test-fraction 0, and give its train.jsonl here)"
            )
    if config.split_by and any(part.name == BUILTIN for part in parts):
        refuse(config, ("split_by",), "the builtin rows")


@dataclass
class OpenedPart:
    """A source, opened, and what was read of it."""

    part: Part
    opened: Opened
    read: int = 0


def opened(part: Part, config: DatasetConfig, rows: int | None = None) -> Opened:
    """The rows of a source; of builtin ones at least ``rows``.

    UserError if there is no such source; HubUnavailable if it may be on the Hub, which cannot be asked.
    """
    if part.name == BUILTIN:
        return Opened(_builtin(part.kind, config, rows or BUILTIN_ROWS), Source(BUILTIN))
    if not looks_local(part.name):
        return read_for(config, part.name, wanted_of(config, part.kind))
    if (folder := path_of(part.name, "--dataset-name")).is_dir():
        check_apart("--output-dir", config.output_dir, {"the folder of the source": folder})
    written = [*(split_file(config.output_dir, split) for split in SPLITS), config.output_dir / REJECTED]
    return read_local(part.name, written, wanted_of(config, part.kind))


def as_one(sources: Sequence[OpenedPart]) -> Source:
    """What stands for all sources where a record names one."""
    if len(sources) == 1:
        return sources[0].opened.source
    return Source(" + ".join(source.part.given for source in sources))


def in_record(
    sources: Sequence[OpenedPart], fractions: Sequence[float] | None, store: Store
) -> tuple[PartOfRows, ...] | None:
    """Each of several sources, and how many rows are of it."""
    if len(sources) == 1:
        return None
    kept = [store.taken(number) for number in range(len(sources))]
    return tuple(
        PartOfRows(
            source=source.opened.source,
            given=source.part.given,
            type=source.part.kind.scored_as or source.part.kind.name,
            rows_read=source.read,
            kept=kept[number],
            rows={split: store.taken(number, split) for split in SPLITS},
            share_asked=fractions[number] if fractions else None,
            share=kept[number] / max(1, sum(kept)),
        )
        for number, source in enumerate(sources)
    )


def settings_of(part: Part, config: DatasetConfig) -> DatasetConfig:
    """The settings with which the rows of a source are read: builtin ones have their own fields and splits."""
    if part.kind.survey:  # it has read --column
        return replace(config, column=None)
    return replace(config, column=None, ignore=None, keep_splits=True) if part.name == BUILTIN else config


def _builtin(kind: RowKind, config: DatasetConfig, rows: int) -> Iterator[SourcedRow]:
    """More rows than are wanted, as far as there are: some are there twice."""
    if kind.builtin is None:
        raise UserError(f"--dataset-name: --type {kind.name} has no builtin rows")
    for count in (2 * rows, rows):
        counts = splits.shares(count, config.valid_fraction, config.test_fraction)
        try:
            made = kind.builtin(counts, config.seed)
        except ValueError as error:
            problem = error
            continue
        return (
            SourcedRow(f"builtin {kind.name} {split} row {number}", row, split=split, is_builtin=True)
            for split in SPLITS
            for number, row in enumerate(made[split], start=1)
        )
    raise UserError(f"--sample-size: {problem}")


def refuse(config: DatasetConfig, names: Iterable[str], source: str) -> None:
    """No flag is accepted and then ignored."""
    for name in names:
        if name == "check_answers" and not config.check_answers:
            raise UserError(f"--no-check-answers has no effect with {source} (omit it)")
        if name != "check_answers" and getattr(config, name) not in (None, False, "all", "auto"):
            raise UserError(f"{flag(name)} has no effect with {source} (omit it)")


def default_source(task: RowKind, say: Callable[[str], None]) -> str:
    """The default rows of a type; the builtin ones if those of the Hub cannot be reached. UserError if it has none."""
    if task.hub_dataset is None:
        raise UserError(f"--dataset-name: --type {task.name} has no default rows (give a file or a Hub dataset)")
    problem = hub_problem(task.hub_dataset, "dataset", [CARD])  # whether the cache has the rows too, read_hub finds out
    if problem and task.builtin:
        say(FALLING_BACK.format(f"{task.hub_dataset}: {problem}"))
        return BUILTIN
    return task.hub_dataset
