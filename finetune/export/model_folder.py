"""--to model: an ordinary folder without an adapter, for mlx-lm and transformers, read again and compared by its logits."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune.backends import logits
from finetune.errors import UserError, shell_command
from finetune.export import by_mlx, draft, weights
from finetune.export.fused import FusedModel, Unmatched, fused_model
from finetune.export.source import Source
from finetune.models import config_files
from finetune.models.pytorch_bin import CONFIGURATION
from finetune.records import files
from finetune.records.export import Agreement, ExportedFile, ExportRecord
from finetune.terminal import format_bytes

KINDS = {"f16": "F16", "bf16": "BF16", "f32": "F32"}
_NOT_COPIED = {"config.json", "model.safetensors.index.json", "conversion.json", files.EXPORT_RECORD}
_QUANTISATION = ("quantization", "quantization_config")  # of MLX, which writes both
_GENERATION = "generation_config.json"
_PROBE = [1, 2, 3, 4, 5, 6, 7, 8]
_MOST_NEW = 64  # tokens that only the adapters know


def export_model(source: Source, output: Path, kind: str | None) -> ExportRecord:
    """Write the fused model of ``source`` to the new or empty folder ``output``; ``kind`` is the type of its weights, one of
    ``KINDS``, None for that of the model.

    UserError (exit 3) if it computes something else than the adapters beside their model, (exit 4) if it cannot be written;
    nothing is left then.
    """
    with draft.draft(output) as folder:
        dequantised = _write(source, folder, output, KINDS[kind] if kind else None)
        agreement = _checked(source, folder)
        written = sorted(folder.glob("model*.safetensors"))
        record = replace(source.record("model", [*map(_described, written)], dequantised), agreement=agreement)
        record.write(folder / files.EXPORT_RECORD)
    return record


def _described(path: Path) -> ExportedFile:
    kinds = sorted({tensor.kind for tensor in weights.read(path).tensors.values()})
    return ExportedFile(path.name, path.stat().st_size, files.file_hash(path), "+".join(kinds).lower())


def _write(source: Source, folder: Path, output: Path, kind: str | None) -> int:
    """Fill the folder; returns how many matrices were quantised by MLX, and are not any more."""
    lifted: Mapping[str, Mapping[str, object]] = {}
    try:
        found = fused_model(source.model, source.trained, kind)
    except Unmatched as why:
        if source.of_peft or kind is not None:
            remedy = shell_command("python", "-m", "finetune", "convert-adapter", source.folder, "--to", "mlx")
            remedy = f"{remedy} --output FOLDER converts it first" if source.of_peft else "omit --type"
            raise UserError(
                f"{source.folder}: cannot be added to the weights in their files: {why} ({remedy})"
            ) from None
        lifted, vocabulary = by_mlx.write(source, folder)
        found = FusedModel([], vocabulary, 0)
    else:
        draft.demand_room(folder, output, weights.size_of(found.tensors))
        weights.write(folder / "model.safetensors", found.tensors)
    files.write_json(folder / "config.json", _config(source.model, lifted, found, kind))
    _copy_others(source, folder)
    return found.dequantised


_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}


def _config(model: Path, lifted: Mapping[str, Mapping[str, object]], found: FusedModel, kind: str | None) -> files.Row:
    """config.json of the model, with the rows that the embeddings have now, and the type of the weights."""
    config: files.Row = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for part, values in lifted.items():
        (config[part] if part else config).update(values)
    for name in _QUANTISATION:
        config.pop(name, None)
    inner: files.Row = config.get("text_config") or {}
    text = inner if "vocab_size" in inner else config
    if found.vocabulary is not None and int(text.get("vocab_size") or 0) < found.vocabulary:
        text["vocab_size"] = found.vocabulary
    if kind:
        for one in (config, inner):
            one.update({name: _DTYPES[kind] for name in ("dtype", "torch_dtype") if name in one})
    return config


def _copy_others(source: Source, folder: Path) -> None:
    """What lies beside the weights; the tokenizer and the ends of answers as the run has them."""
    for path in source.model.iterdir():
        wanted = path.name not in _NOT_COPIED and any(path.match(pattern) for pattern in CONFIGURATION)
        if wanted and path.is_file() and not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
    encoder = source.encoder
    if encoder.new_tokens or not encoder.own_template:
        encoder.tokenizer.save_pretrained(folder)
    known, end = config_files.end_tokens(source.model), encoder.end.token
    if end is not None and end not in known:
        path = folder / _GENERATION
        settings = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        files.write_json(path, {**settings, "eos_token_id": sorted({*known, *encoder.stop_tokens})})


def _checked(source: Source, folder: Path) -> Agreement:
    """Read the folder again and compare its logits with those of the adapters beside their model. UserError (exit 3) if they
    differ by more than the rounding of the weights, which mlx-lm's own fusing shows."""
    from finetune.backends.mlx.model import load_network
    from finetune.backends.mlx.runtime import mx
    from finetune.export.reference import reference

    new = source.encoder.new_tokens
    prompts = [_PROBE, *([list(new.ids[:_MOST_NEW])] if new else [])]
    network = load_network(folder, mx.float32)
    network.eval()
    again = logits.mlx_logits(network, prompts)
    kinds = _kinds(folder)
    beside = reference(source)
    base, tuned = beside.base(prompts[:1]), beside.tuned(prompts)
    fused = beside.fused()
    _round(fused, kinds)
    lost = logits.largest(again, logits.mlx_logits(fused, prompts))
    if not lost <= logits.SAME:
        raise UserError(
            f"the fused model computes something else once it is read again: its logits differ by {lost:.1e} standard"
            " deviations. Nothing was written",
            exit_code=3,
        )
    in_transformers = logits.compare(folder)
    if in_transformers.verdict == "different" and logits.compare(source.model).verdict != "different":
        raise UserError(f"{in_transformers.said}, but not with the base model. Nothing was written", exit_code=3)
    return Agreement(
        difference=logits.largest(again, tuned),
        effect=logits.largest(tuned[: len(base), : base.shape[1]], base),
        fused_by_mlx=lost,
        transformers=in_transformers.difference,
    )


def _kinds(folder: Path) -> Mapping[str, Any]:
    """The type of each weight as mlx-lm reads them."""
    from finetune.backends.mlx import loading

    from mlx.utils import tree_flatten  # isort: skip  after the runtime

    network = loading.load(folder, quiet=True).network
    return {name: array.dtype for name, array in dict(tree_flatten(network.parameters())).items()}


def _round(network: Any, kinds: Mapping[str, Any]) -> None:
    """Round the weights of a network in float32 to these types."""
    from finetune.backends.mlx.runtime import mx

    from mlx.utils import tree_flatten, tree_unflatten  # isort: skip  after the runtime

    arrays = [
        (name, array.astype(kinds.get(name, array.dtype)).astype(mx.float32))
        for name, array in dict(tree_flatten(network.parameters())).items()
        if mx.issubdtype(array.dtype, mx.floating)
    ]
    network.update(tree_unflatten(arrays))


def shown(record: ExportRecord, output: Path) -> list[str]:
    """Lines about it for a person."""
    size = sum(one.size for one in record.files)
    kinds = "+".join(sorted({one.kind for one in record.files}))
    lines = [
        f"{output}: {format_bytes(size)} of weights in {kinds.upper()}, config.json and tokenizer, for mlx-lm and transformers"
    ]
    if record.dequantised:
        lines.append(
            f"{record.dequantised} matrices were quantised by MLX and are whole again: quantised anew, they would lose a part"
            " of what was learned."
        )
    found = record.agreement
    if found is not None:
        rounding = "" if kinds == "f32" else f", because the weights are {kinds.upper()}"
        lines.append(
            f"Read again, its logits differ from those of the adapters by {found.difference:.1e} standard deviations"
            f"{rounding}; the adapters change them by {found.effect:.2g}."
        )
        if kinds != "f32" and found.difference * 10 > found.effect > 0:
            lines.append("That is more than a tenth of what they change: --type f32 keeps all of it.")
    lines.append(f"Use it: {shell_command('python', '-m', 'mlx_lm', 'generate', '--model', output, '--prompt', '...')}")
    return lines
