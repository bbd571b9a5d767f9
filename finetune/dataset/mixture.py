"""Several sources in one dataset: how each is named, of which type its rows are, and how many of them are taken."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetune.dataset.readers.sourced import is_a_path
from finetune.errors import UserError, closest, shortened
from finetune.tasks.base import RowKind

_WEIGHT = re.compile(r"(.+)=([0-9]*\.?[0-9]+)(%?)", re.DOTALL)
_NO_WEIGHT = re.compile(r"(.+)=([^=/\\]*)", re.DOTALL)
_TYPE = re.compile(r"([a-z][a-z_-]*):(.+)", re.DOTALL)
_LARGEST = 1e6
BUILTIN = "builtin"


@dataclass(frozen=True)
class Part:
    """One source: ``[TYPE:]NAME[=WEIGHT]``, as --dataset-name gives it."""

    given: str
    name: str  # file, folder, glob, Hub dataset or builtin
    kind: RowKind
    weight: float | None = None  # relative to those of the other sources
    share: float | None = None  # of all rows that are kept, 0 to 1


def parsed(given: str, kinds: Mapping[str, RowKind], default: RowKind) -> Part:
    """A source as it was given. UserError if its weight or its type is none."""
    if is_a_path(given):
        return Part(given, given, default)
    name, weight, share = given, None, None
    if found := _WEIGHT.fullmatch(given):
        name, number = found[1], float(found[2])
        weight, share = (None, number / 100) if found[3] else (number, None)
        if not 0 < number <= (100 if found[3] else _LARGEST):
            most = "100%" if found[3] else f"{_LARGEST:g}"
            raise UserError(f"--dataset-name {shortened(given)}: a weight is more than 0, and at most {most}")
    elif (wrong := _NO_WEIGHT.fullmatch(given)) and is_a_path(wrong[1]):
        example = "a number such as 2, or a share such as 20%"
        raise UserError(f"--dataset-name {shortened(given)}: {wrong[2]!r} is not a weight ({example})")
    kind = default
    if not is_a_path(name) and (typed := _TYPE.fullmatch(name)):
        if typed[1] in kinds:
            kind, name = kinds[typed[1]], typed[2]
        elif is_a_path(typed[2]) or closest(typed[1], kinds):
            raise UserError(
                f"--dataset-name {shortened(given)}: unknown type {typed[1]!r} (choose from {', '.join(kinds)})"
            )
    return Part(given, name, kind, weight, share)


def check(parts: Sequence[Part], default: RowKind) -> None:
    """UserError if these sources cannot be in one dataset."""
    if len(parts) == 1 and (parts[0].weight or parts[0].share):
        raise UserError(f"--dataset-name {shortened(parts[0].given)}: a weight has no effect with one source (omit it)")
    names = [(part.kind.name, part.name) for part in parts]
    if twice := [part for at, part in enumerate(parts) if names[at] in names[:at]]:
        raise UserError(f"--dataset-name: {shortened(twice[0].name)} is given twice (give it once)")
    kinds = list(dict.fromkeys(part.kind.name for part in parts))
    if default.name not in kinds:
        raise UserError(
            f"--type {default.name}: no source has such rows (give --type {kinds[0]}, or a source of --type {default.name})"
        )
    for part in parts:
        if len(kinds) > 1 and (part.kind.plain_text or part.kind.scored_as):
            raise UserError(
                f"--dataset-name {shortened(part.given)}: {part.kind.name} rows cannot be in one dataset with"
                f" {next(kind for kind in kinds if kind != part.kind.name)} rows (prepare each in its own --output-dir)"
            )


def fractions(parts: Sequence[Part]) -> list[float] | None:
    """The share of each source in the rows that are kept; None if all rows of all are. UserError if they are no whole."""
    if not any(part.weight or part.share for part in parts):
        return None
    shares = math.fsum(part.share or 0 for part in parts)
    weights = math.fsum(0 if part.share else part.weight or 1.0 for part in parts)
    if weights and shares >= 0.99999:
        left = next(part for part in parts if not part.share)
        raise UserError(
            f"--dataset-name: the shares add up to {shares:.4g} of 1, so nothing is left for {shortened(left.given)}"
            " (lower them)"
        )
    if not weights and abs(shares - 1) > 1e-5:
        raise UserError(
            f"--dataset-name: the shares add up to {100 * shares:.6g}%, not to 100% (change one, or give one source"
            " without a share: it has the rest)"
        )
    return [part.share or (1 - shares) * (part.weight or 1.0) / weights for part in parts]


def quotas(wanted: Sequence[float], total: int) -> list[int]:
    """``total`` rows by these shares: whole numbers, none further than one row from its share (largest remainders)."""
    exact = [share * total for share in wanted]
    found = [math.floor(rows + 1e-9) for rows in exact]
    by_rest = sorted(range(len(wanted)), key=lambda at: found[at] - exact[at])
    for at in by_rest[: total - sum(found)]:
        found[at] += 1
    return found


def largest_total(wanted: Sequence[float], available: Sequence[int]) -> int:
    """The most rows of which each source has its share."""
    total = min(math.floor(rows / share + 1e-9) for share, rows in zip(wanted, available, strict=True))
    return min(total, sum(available))


def demand_enough(parts: Sequence[Part], wanted: Sequence[float], available: Sequence[int], total: int) -> None:
    """UserError if a source has fewer rows than its share of ``total``, or if that is less than a row."""
    counts = quotas(wanted, total)
    if none := [
        part for part, has, count in zip(parts, available, counts, strict=True) if not has and (count or not total)
    ]:
        raise UserError(
            f"--dataset-name {shortened(none[0].given)}: none of its rows is usable, so it has no share (omit it)"
        )
    if small := [part for part, count in zip(parts, counts, strict=True) if not count]:
        what = f"its share of {total:,} rows is less than a row"
        raise UserError(f"--dataset-name {shortened(small[0].given)}: {what} (give it more weight)")
    short = [at for at, has in enumerate(available) if has < counts[at]]
    if not short:
        return
    what = "; ".join(
        f"{shortened(parts[at].given)} has {available[at]:,} usable rows, and {100 * wanted[at]:.4g}% of {total:,} are"
        f" {counts[at]:,}"
        for at in short
    )
    most = min(math.floor(available[at] / wanted[at] + 1e-9) for at in short)
    remedy = f"at most --sample-size {most}, or other weights" if most >= 3 else "more rows, or other weights"
    raise UserError(f"--dataset-name: too few rows: {what} ({remedy})")
