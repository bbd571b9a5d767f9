"""How many rows each split gets."""

from collections.abc import Iterator, Mapping


def shares(count: int, valid_fraction: float, test_fraction: float) -> dict[str, int]:
    """Rows of each split; at least one if its fraction is not 0."""
    valid, test = (max(1, round(count * share)) if share else 0 for share in (valid_fraction, test_fraction))
    return {"test": test, "valid": valid, "train": count - test - valid}


def fitting(placed: Mapping[str, int], sizes: Mapping[str, int], count: int, total: int) -> Iterator[str]:
    """The splits of about these ``sizes`` that take ``count`` more rows which must stay together, of ``total`` rows in all.

    A group that is far too large for test or valid fits into none of them, and is trained on.
    """
    for split, size in sizes.items():
        if placed[split] < size and count <= max(1.5 * size + 1, total / 4):
            yield split


def filled(has: Mapping[str, int], shares: Mapping[str, int], total: int) -> dict[str, int]:
    """``total`` rows of the splits that have so many: each its share, and what one has not, the others may have."""
    found = {split: min(count, shares[split]) for split, count in has.items()}
    for split, count in has.items():
        found[split] += min(count - found[split], total - sum(found.values()))
    return found
