"""One folder without an adapter: the adapters of a run added into the weights, with its tokenizer; read again and checked."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.errors import UserError, shell_command
from finetune.evaluation.tuned_run import TunedRun, open_run
from finetune.models.pytorch_bin import CONFIGURATION
from finetune.records import files
from finetune.records.plain_path import plain_path

_NOT_COPIED = {"config.json", "model.safetensors.index.json", "conversion.json"}
_SAME = 1e-3  # standard deviations of the logits
_PROBE = [1, 2, 3, 4, 5, 6, 7, 8]


@dataclass(frozen=True)
class Fused:
    """What was written. ``difference`` is the largest one between the logits of the folder, read again, and of the adapters
    beside their model, in standard deviations of the logits; ``effect`` is what the adapters change. ``rounded``: why they
    differ, "bfloat16" or "quantised"; "" for weights in float32."""

    size: int  # bytes of the weights
    difference: float
    effect: float
    rounded: str


def fuse(adapter_path: Path, output: Path) -> Fused:
    """Write the model of a run to the new or empty folder ``output``.

    UserError (exit 2) for what cannot be fused, (exit 3) for damaged adapters or a result that computes something else,
    (exit 4) if ``output`` cannot be written; nothing is left in it then.
    """
    run = open_run(adapter_path)
    if run.backend.FORMAT.file != files.ADAPTERS:
        to_mlx = shell_command("python", "-m", "finetune", "convert-adapter", adapter_path, "--to", "mlx", "--output")
        raise UserError(f"{adapter_path}: adapters of PEFT (use merge_and_unload of PEFT, or {to_mlx} FOLDER first)")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output: {output} already exists (use a new or an empty folder)")
    files.make_folder(output.parent)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        try:
            found = _write(run, folder)
            folder.rename(output)
            files.fsync(output.parent)
        except OSError as error:
            raise UserError(f"{output}: cannot be written: {error.strerror or error}", exit_code=4) from None
    return found


def _write(run: TunedRun, folder: Path) -> Fused:
    """Fill the folder, and compare it with the run."""
    from finetune.backends import logits
    from finetune.backends.mlx import loading
    from finetune.backends.mlx.model import load_network
    from finetune.backends.mlx.runtime import DTYPE, mx

    from mlx.utils import tree_flatten, tree_map  # isort: skip  after the runtime
    from mlx_lm.utils import save_model  # isort: skip

    model = run.load()
    new = run.encoder.new_tokens
    prompts = [_PROBE, *([list(new.ids[:64])] if new else [])]
    base = logits.mlx_logits(model.without_adapter().network, prompts[:1])
    tuned = logits.mlx_logits(model.network, prompts)
    plain = loading.load(run.model_path, quiet=True)
    kinds = {name: array.dtype for name, array in dict(tree_flatten(plain.network.parameters())).items()}
    network = model.fused().network
    stored = _as_stored(network, kinds)
    network.update(stored)
    with plain_path(folder) as written:
        try:
            save_model(written, network)
        except RuntimeError as error:  # how MLX says that the disk is full
            raise OSError(str(error)) from None
    files.write_json(folder / "config.json", _config(run.model_path, plain.lifted, tuned.shape[1]))
    _copy_tokenizer(run, folder)
    again = logits.mlx_logits(load_network(folder), prompts)
    network.update(tree_map(lambda a: a.astype(DTYPE) if mx.issubdtype(a.dtype, mx.floating) else a, stored))
    lost = logits.largest(again, logits.mlx_logits(network, prompts))
    if not lost <= _SAME:
        raise UserError(
            f"the fused model computes something else once it is read again: its logits differ by {lost:.1e} standard"
            " deviations. Nothing was written",
            exit_code=3,
        )
    rounded = sorted({str(kind).rpartition(".")[2] for kind in kinds.values()} & {"bfloat16", "float16"})
    return Fused(
        size=sum(path.stat().st_size for path in folder.glob("model*.safetensors")),
        difference=logits.largest(again, tuned),
        effect=logits.largest(tuned[: len(base), : base.shape[1]], base),
        rounded="quantised" if any(name.endswith(".scales") for name in kinds) else " and ".join(rounded),
    )


def _as_stored(network: Any, kinds: Mapping[str, Any]) -> Any:
    """The arrays of a network in the types that its model's files have them in."""
    from mlx.utils import tree_flatten, tree_unflatten

    arrays = dict(tree_flatten(network.parameters()))
    return tree_unflatten([(name, array.astype(kinds.get(name, array.dtype))) for name, array in arrays.items()])


def _config(model: Path, lifted: Mapping[str, Mapping[str, object]], rows: int) -> dict[str, object]:
    """config.json of the model as mlx-lm reads it, with the number of rows that the embeddings have now."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for part, values in lifted.items():
        (config[part] if part else config).update(values)
    text = config.get("text_config") if "vocab_size" in (config.get("text_config") or {}) else config
    if text.get("vocab_size", 0) < rows:
        text["vocab_size"] = rows
    return dict(config)


def _copy_tokenizer(run: TunedRun, folder: Path) -> None:
    """What lies beside the weights; the tokenizer as the run has it."""
    for path in run.model_path.iterdir():
        wanted = path.name not in _NOT_COPIED and any(path.match(pattern) for pattern in CONFIGURATION)
        if wanted and path.is_file() and not (folder / path.name).exists():
            shutil.copyfile(path, folder / path.name)
    if run.encoder.new_tokens or not run.encoder.own_template:
        run.encoder.tokenizer.save_pretrained(folder)
