"""Whether the tensors of an adapter file are those of the model's adapter: refused in the same words by both backends."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from finetune.errors import UserError, shortened


def demand_base(path: Path, metadata: Mapping[str, str], base: str | None) -> None:
    """UserError (exit 3) if the file says that its adapter was trained on another model than that of fingerprint ``base``."""
    if base is not None and metadata.get("base", base) != base:
        raise UserError(f"{path}: was trained on another model", exit_code=3)


def demand_fit(path: Path, own: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]]) -> None:
    """UserError (exit 3) unless the file has the names and shapes of the model's own tensors, that is ``found == own``."""
    for name in sorted(own.keys() ^ found.keys()):
        what = "is missing" if name in own else "is not in the model"
        raise UserError(f"{path}: does not fit the model: {shortened(name)} {what}", exit_code=3)
    for name, shape in found.items():
        if tuple(shape) != tuple(own[name]):
            shapes = f"{tuple(shape)}, in the model {tuple(own[name])}"
            raise UserError(f"{path}: does not fit the model: {name} has shape {shortened(shapes, 200)}", exit_code=3)
