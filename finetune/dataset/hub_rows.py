"""Rows of a dataset on the Hugging Face Hub. Only the files of the configuration and the splits in use are fetched."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from fnmatch import fnmatch
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any

from finetune.dataset.readers import arrow_values
from finetune.dataset.readers.sourced import SPLIT_NAMES, SourcedRow
from finetune.errors import UserError, closest, first_line
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
from finetune.records.files import SPLITS

CARD = "README.md"  # says which configurations there are


def read_hub(
    name: str, revision: str | None, subset: str | None, *, keep_splits: bool
) -> tuple[Iterator[SourcedRow], Source]:
    """The train split of a Hub dataset, with ``keep_splits`` all its splits, and its commit.

    ``subset`` is the configuration; it can be None if there is one, or a default. UserError if the Hub does not give it.
    """
    import datasets

    problem, folder = _card(name, revision)
    configuration = _configuration(name, folder, subset)
    root = str(folder) if problem else f"hf://datasets/{name}@{folder.name}"
    patterns = _patterns(name, root, configuration, problem)
    own = {SPLIT_NAMES[split]: split for split in patterns if split in SPLIT_NAMES}
    if "train" not in own:
        raise UserError(f"{name}: no train split (it has {', '.join(patterns) or 'no data files'})")
    wanted = {split: own[split] for split in SPLITS if split in own and (keep_splits or split == "train")}
    chosen = {split: patterns[split] for split in wanted.values()}
    if problem:
        _demand_whole(name, folder, chosen, problem)
    paths = _files(name, root, chosen, problem)
    if not problem:
        download_snapshot(name, "dataset", [escape(path) for part in paths.values() for path in part], folder.name)
    datasets.disable_progress_bars()
    with foreign(f"{name}: its files cannot be read as rows"):
        tables = _tables({split: [str(folder / path) for path in part] for split, part in paths.items()}, configuration)

    def rows() -> Iterator[SourcedRow]:
        for split, theirs in wanted.items():
            table = tables[theirs]
            number = 0
            for batch in table.with_format("arrow").iter(100):
                yield from arrow_values.rows(batch, partial(_place, f"{name} {split}", number), split)
                number += len(batch)

    return rows(), Source(name, revision=folder.name, subset=configuration.get("config_name"))


def _place(split: str, before: int, number: int) -> str:
    return f"{split} row {before + number}"


def _tables(paths: Mapping[str, Sequence[str]], configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table of each split, read with the options of the card. The card itself would demand files that are not fetched."""
    import datasets
    from datasets.data_files import DataFilesDict
    from datasets.load import _MODULE_TO_EXTENSIONS, infer_module_for_data_files

    found = DataFilesDict.from_patterns({split: list(map(escape, part)) for split, part in paths.items()})
    kind, options = infer_module_for_data_files(found)
    # a licence or a schema may lie beside the rows
    kept = {split: list(part) for split, part in found.filter(extensions=_MODULE_TO_EXTENSIONS[kind]).items()}
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


def _configuration(name: str, folder: Path, subset: str | None) -> Mapping[str, Any]:
    """The entry of the card for ``subset``, or for the default configuration; empty if the card lists none."""
    from huggingface_hub import DatasetCard

    path = folder / CARD
    with foreign(f"{name}: its card cannot be read"):
        listed = DatasetCard.load(path).data.get("configs") if path.is_file() else None
    listed = listed if isinstance(listed, list) else []
    entries = {str(entry.get("config_name", "default")): entry for entry in listed if isinstance(entry, Mapping)}
    if subset is None:
        marked = [one for one, entry in entries.items() if entry.get("default")] or [
            one for one in entries if one == "default"
        ]
        if len(entries) > 1 and not marked:
            raise UserError(f"{name}: it has several configurations (choose one with --subset: {', '.join(entries)})")
        subset = next(iter(marked or entries), "default")
    if subset in entries:
        return entries[subset]
    if subset == "default" and not entries:
        return {}
    if not entries:
        raise UserError(f"--subset: {name} has no configurations to choose from (omit the flag)")
    hint = f"did you mean {near}? " if (near := closest(subset, entries)) else ""
    raise UserError(f"--subset: {name} has no configuration {subset!r} ({hint}choose from {', '.join(entries)})")


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


def _demand_whole(name: str, folder: Path, patterns: Mapping[str, Sequence[str]], problem: str) -> None:
    """HubUnavailable if the cached copy lacks a file of these splits, after an interrupted download for example."""
    wanted = [form for part in patterns.values() for one in part for form in (one, one.removeprefix("**/"))]
    for path in listed_files(name, folder.name, "dataset") or ():
        if any(fnmatch(path, form) for form in wanted) and not (folder / path).exists():
            raise HubUnavailable(f"{name}: {problem}, and its cached copy lacks {path}")


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
