"""One export from the command line's words to the lines that a person reads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from finetune.errors import UserError, shortened
from finetune.export import draft
from finetune.export.source import open_source

_OF_MODEL = ("f16", "bf16", "f32")
_OF_GGUF = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
_DEFAULT = ("q8_0",)


@dataclass(frozen=True)
class Wanted:
    """What was asked for, by the names of the flags."""

    source: Path
    to: str
    output: Path
    type_: str | None
    check: str
    name: str | None
    model: str | None


def export(wanted: Wanted, say: Callable[[str], None]) -> list[str]:
    """Do it; returns lines about the result. UserError (exit 2, 3 or 4) if it is refused; nothing is left behind then."""
    types = _types(wanted)
    draft.demand_new(wanted.output)
    if wanted.to == "model":
        if wanted.check != "quick":
            raise UserError("--check has no effect with --to model, which is always compared by its logits (omit it)")
        if wanted.name is not None:
            raise UserError("--name has no effect with --to model (omit it)")
        from finetune.export import model_folder

        found = open_source(wanted.source, wanted.model, say)
        record = model_folder.export_model(found, wanted.output, types[0] if types else None)
        return model_folder.shown(record, wanted.output)
    from finetune.export.gguf import folder

    found = open_source(wanted.source, wanted.model, say)
    tried = wanted.check != "none"
    record = folder.export_gguf(found, wanted.output, types or _DEFAULT, wanted.name, tried=tried, say=say)
    return folder.shown(record, wanted.output)


def _types(wanted: Wanted) -> tuple[str, ...]:
    """The types of ``--type``, in their order; none if it was not given."""
    if wanted.type_ is None:
        return ()
    known = _OF_MODEL if wanted.to == "model" else _OF_GGUF
    found = tuple(one.strip().lower() for one in wanted.type_.split(","))
    for at, one in enumerate(found):
        if one not in known:
            raise UserError(
                f"--type: unknown value {shortened(repr(one))} for {wanted.to} (choose from {', '.join(known)})"
            )
        if one in found[:at]:
            raise UserError(f"--type: {one} is given twice (give it once)")
    if wanted.to == "model" and len(found) > 1:
        raise UserError("--type: a folder has weights of one type (name one)")
    return found
