"""Rows of a dataset on the Hugging Face Hub. Only the files of the configuration and the splits in use are fetched."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatch
from functools import partial
from glob import escape
from itertools import islice
from pathlib import Path
from typing import Any

from finetune.dataset.hub_choice import CARD, chosen_configuration, chosen_splits
from finetune.dataset.readers import arrow_values
from finetune.dataset.readers.columns import parquet_rows
from finetune.dataset.readers.folders import Found
from finetune.dataset.readers.parts import Part
from finetune.dataset.readers.sourced import SourcedRow, Wanted
from finetune.dataset.sources import ARCHIVE, MOST_TOLD, READERS, Opened, read_parts, tell_left
from finetune.errors import UserError, first_line
from finetune.models.foreign import foreign
from finetune.models.hub import (
    HubUnavailable,
    ask_hub,
    cached_snapshot,
    download_snapshot,
    hub_answers,
    listed_files,
)
from finetune.records.dataset import Source
from finetune.records.files import text_hash
from finetune.settings.config import DatasetConfig
from finetune.tasks.conversations import named
from finetune.terminal import say

_ALL = Wanted()
# of a split in more files than many only some are read for a sample: at least so many, with so many times its rows
_MANY_FILES, _LEAST_FILES, _MARGIN = 8, 2, 4
_OURS = ("json", "csv", "parquet")  # as the datasets library calls them
_NO_OPTIONS = frozenset(("config_name", "data_files", "data_dir", "default", "description", "version"))


@dataclass(frozen=True)
class Sample:
    """How many rows are wanted, and the seed that chooses among many files."""

    rows: int
    seed: int


def read_for(config: DatasetConfig, name: str, wanted: Wanted) -> Opened:
    """``read_hub`` with the settings of the command."""
    sample = Sample(config.sample_size, config.seed) if config.sample_size else None
    revision, subset, split, keep_splits = config.revision, config.subset, config.split, config.keep_splits
    return read_hub(name, revision, subset, keep_splits=keep_splits, split=split, sample=sample, wanted=wanted)


def read_hub(
    name: str,
    revision: str | None,
    subset: str | None,
    *,
    keep_splits: bool,
    split: str | None = None,
    sample: Sample | None = None,
    wanted: Wanted = _ALL,
) -> Opened:
    """The train split of a Hub dataset, with ``keep_splits`` all its splits, and its commit.

    ``subset`` is the configuration; it can be None if there is one, or a default. ``split`` names other splits, with commas.
    Of a split in many files so many are fetched, chosen by the seed, as have enough rows for the ``sample``. UserError if the
    Hub does not give it.
    """
    problem, folder = _card(name, revision)
    configuration = chosen_configuration(name, folder, subset)
    root = str(folder) if problem else f"hf://datasets/{name}@{folder.name}"
    patterns = _patterns(name, root, configuration, problem)
    splits = chosen_splits(name, list(patterns), split, keep_splits=keep_splits)
    chosen = {theirs: patterns[theirs] for theirs in splits}
    hub = _Dataset(name, folder, problem)
    paths, some = dict[str, Sequence[str]](), dict[str, Sequence[str]]()
    every = {theirs: hub.listed(part) if problem else [] for theirs, part in chosen.items()}
    for listed in every.values():
        if not sample or len(listed) <= _MANY_FILES:
            hub.fetch(listed)
    for theirs, found in _files(name, root, chosen, problem).items():
        there = sorted({*found, *every[theirs]})
        if sample and len(there) > _MANY_FILES:
            some[theirs] = paths[theirs] = hub.enough(there, sample)
            what = f"{len(some[theirs])} of {len(there)} files read, chosen by the random seed"
            say(f"Note: {name} {theirs}: {what}: enough to sample {sample.rows} rows from")
        else:
            paths[theirs] = found
            hub.fetch(found)
    taken = tuple(path for part in some.values() for path in part) or None
    rows, left = _rows(hub, paths, splits, configuration, wanted)
    if keep_splits and not split and (others := [theirs for theirs in patterns if theirs not in splits]):
        say(f"Note: {name}: splits not read: {named(others)} (--split)")
    source = Source(
        name,
        revision=folder.name,
        subset=configuration.get("config_name"),
        split=split,
        only=taken,
        not_read=tuple(left[:MOST_TOLD]) or None,
    )
    return Opened(rows, source)


@dataclass(frozen=True)
class _Dataset:
    """A dataset at one commit. ``problem``: why the Hub cannot be asked, so that the cache must do, or ""."""

    name: str
    folder: Path
    problem: str

    def part(self, path: str) -> Part:
        return Part(self.folder / path, shown=f"{self.name}/{path}")

    def listed(self, patterns: Sequence[str]) -> list[str]:
        """The files that match, by the Hub's list in the cache: some may not have been fetched."""
        forms = [form for one in patterns for form in (one, one.removeprefix("**/"))]
        listed = listed_files(self.name, self.folder.name, "dataset") or ()
        return [path for path in listed if any(fnmatch(path, form) for form in forms)]

    def fetch(self, paths: Iterable[str]) -> None:
        """HubUnavailable if the cached copy must do and lacks a file, after an interrupted download for example."""
        paths = list(paths)
        if not paths:
            return
        if not self.problem:
            download_snapshot(self.name, "dataset", [escape(path) for path in paths], self.folder.name)
        elif lacking := [path for path in paths if not (self.folder / path).exists()]:
            raise HubUnavailable(f"{self.name}: {self.problem}, and its cached copy lacks {lacking[0]}")

    def enough(self, paths: Sequence[str], sample: Sample) -> list[str]:
        """So many of the files, in the order of the seed, as have several times the rows of the sample."""
        wanted, taken, rows = _MARGIN * sample.rows, list[str](), 0
        for path in sorted(paths, key=lambda path: text_hash(f"{sample.seed} {path}")):
            if len(taken) >= _LEAST_FILES and rows >= wanted:
                break
            self.fetch([path])
            taken.append(path)
            part = self.part(path)
            if part.suffix == ".parquet":
                rows += parquet_rows(part)
            elif part.suffix in READERS:
                rows += sum(1 for _ in islice(read_parts([part], _ALL), wanted))
        return sorted(taken)


def _rows(
    hub: _Dataset,
    paths: Mapping[str, Sequence[str]],
    splits: Mapping[str, str | None],
    configuration: Mapping[str, Any],
    wanted: Wanted,
) -> tuple[Iterator[SourcedRow], list[str]]:
    """The rows, and the files that are not read, because most are of another kind. By our own readers, which take no text for
    a date or for missing; by the datasets library if the card has options."""
    import datasets

    local = {theirs: [str(hub.folder / path) for path in part] for theirs, part in paths.items()}
    datasets.disable_progress_bars()
    with foreign(f"{hub.name}: its files cannot be read as rows"):
        kind, kept = _of_one_kind(local)
        packed = any(path.endswith(ARCHIVE) for part in kept.values() for path in part)
        ours = not packed and (kind in _OURS or (wanted.documents and kind == "text"))
        tables = {} if ours and not set(configuration) - _NO_OPTIONS else _tables(local, configuration)

    lost = {path for part in local.values() for path in part} - {path for part in kept.values() for path in part}
    left = sorted(Path(path).relative_to(hub.folder).as_posix() for path in lost)
    tell_left(hub.name, Found(left=left), wanted, "download the dataset, and name its files")

    def rows() -> Iterator[SourcedRow]:
        for theirs, own in splits.items():
            if theirs not in tables:
                names = [Path(path).relative_to(hub.folder).as_posix() for path in kept[theirs]]
                yield from (replace(row, split=own) for row in read_parts(map(hub.part, names), wanted))
                continue
            number = 0
            for batch in tables[theirs].with_format("arrow").iter(100):
                place = partial(_place, f"{hub.name} {theirs}", number)
                yield from arrow_values.rows(batch, place, own, class_names=wanted.class_names)
                number += len(batch)

    return rows(), left


def _of_one_kind(paths: Mapping[str, Sequence[str]]) -> tuple[str, Mapping[str, Sequence[str]]]:
    """What most files are, as the datasets library calls it, and those files: a licence or a schema may lie beside them."""
    from datasets.data_files import DataFilesDict
    from datasets.load import _MODULE_TO_EXTENSIONS, infer_module_for_data_files

    found = DataFilesDict.from_patterns({split: list(map(escape, part)) for split, part in paths.items()})
    kind, _ = infer_module_for_data_files(found)
    kept = found.filter(extensions=_MODULE_TO_EXTENSIONS[kind])
    return str(kind), {split: list(part) for split, part in kept.items()}


def _place(split: str, before: int, number: int) -> str:
    return f"{split} row {before + number}"


def _tables(paths: Mapping[str, Sequence[str]], configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table of each split, read with the options of the card. The card itself would demand files that are not fetched."""
    import datasets
    from datasets.load import infer_module_for_data_files

    kind, kept = _of_one_kind(paths)
    _, options = infer_module_for_data_files(kept)
    builder = datasets.load_dataset_builder(kind, data_files=kept, **options)
    # only options of how a file is read: a card must not choose where things are written
    known = {option.name for option in fields(builder.config)} - {
        option.name for option in fields(datasets.BuilderConfig)
    }
    given = {key: value for key, value in configuration.items() if key in known}
    return datasets.load_dataset(kind, data_files=kept, **{**options, **given})


def _card(name: str, revision: str | None) -> tuple[str, Path]:
    """Why the Hub cannot be asked, or "", and the folder of the dataset in the Hub's cache, with its card if it has one."""
    if not (problem := ask_hub(name, "dataset")):
        return "", download_snapshot(name, "dataset", [CARD], revision)
    if cached := cached_snapshot(name, "dataset", [CARD], revision):
        return problem.clause, cached
    no_file = "" if "/" in name else "no such file, and on the Hub: "
    raise HubUnavailable(f"{name}: {no_file}{problem.clause}")


def _patterns(name: str, root: str, configuration: Mapping[str, Any], problem: str) -> Mapping[str, Sequence[str]]:
    """Where the files of each split are: by the card, or else by their names, as the datasets library divides them."""
    from datasets import data_files

    if patterns := configuration.get("data_files"):
        try:
            return {str(split): part for split, part in data_files.sanitize_patterns(patterns).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{name}: data_files in its card cannot be read: {first_line(error)}") from None
    below = str(configuration.get("data_dir") or "").strip("/")
    with _explained(name, problem):
        found = data_files.get_data_patterns(f"{root}/{below}".rstrip("/"))
    return {str(split): [f"{below}/{one}".lstrip("/") for one in part] for split, part in found.items()}


def _files(name: str, root: str, patterns: Mapping[str, Sequence[str]], problem: str) -> Mapping[str, Sequence[str]]:
    """The paths of each split's files in the repository."""
    from datasets import data_files
    from datasets.load import _ALL_ALLOWED_EXTENSIONS

    with _explained(name, problem):
        found = data_files.DataFilesDict.from_patterns(
            patterns, base_path=root, allowed_extensions=_ALL_ALLOWED_EXTENSIONS
        )
    if lacking := [split for split in patterns if not found.get(split)]:
        if problem:
            raise HubUnavailable(f"{name}: {problem}, and its cached copy lacks the split {lacking[0]}")
        raise UserError(f"{name}: it has no data files for the split {lacking[0]}")
    outside = [path for part in found.values() for path in part if not path.startswith(f"{root}/") or "/../" in path]
    if outside:  # a card could name files of this disk
        raise UserError(f"{name}: its card names a file that is not in it: {outside[0]}")
    return {split: [path.removeprefix(f"{root}/") for path in part] for split, part in found.items()}


@contextmanager
def _explained(name: str, problem: str) -> Iterator[None]:
    try:
        with hub_answers(name, "dataset"):
            try:
                yield
            except FileNotFoundError as error:
                raise UserError(f"{name}: its files cannot be found: {first_line(error)}") from None
    except UserError:
        if problem:
            raise HubUnavailable(f"{name}: {problem}, and its cached copy has no rows") from None
        raise
