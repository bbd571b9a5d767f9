"""Adapters of MLX as PEFT has them, and back: LoRA and DoRA. The result is checked on both sides before it is kept.

python -m finetune convert-adapter checkpoints --to peft --output peft_adapter
python -m finetune convert-adapter peft_adapter --to mlx --output mlx_adapter --model NAME
"""

import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finetune.errors import UserError
from finetune.models.find import ModelFolder, find_model
from finetune.models.fingerprint import fingerprint
from finetune.records import files
from finetune.records.run import ConvertedFrom, RunRecord, read_run
from finetune.settings.fields import option
from finetune.terminal import say


@dataclass(frozen=True)
class Format:
    title: str
    weights: str  # the name of the file
    base: str  # where its adapter_config.json names the model
    backend: str  # of train.py, that writes such folders


FORMATS = {
    "peft": Format("PEFT", files.PEFT_ADAPTERS, "base_model_name_or_path", "torch"),
    "mlx": Format("MLX", files.ADAPTERS, "model", "mlx"),
}
CHOICES = {"formats": FORMATS}


@dataclass(frozen=True)
class Config:
    source: Path = option(None, "the folder of the adapter", positional=True)
    to: str = option(None, "what it becomes", choices="formats", required=True)
    output: Path = option(None, "the folder to write, new or empty", required=True)
    model: str | None = option(
        None, "the base model: a folder, a Hub name, builtin or a .gguf file; without it, as the source says"
    )


def main(config: Config) -> None:
    if missing := [name for name in ("torch", "peft") if find_spec(name) is None]:
        raise UserError(f"{' and '.join(missing)} not installed, which the check needs (run: make setup-torch)")
    source, target = (FORMATS["mlx" if config.to == "peft" else "peft"], FORMATS[config.to])
    settings, trained_on = _read(config.source, source, target)
    record = read_run(config.source) if (config.source / files.RUN_RECORD).exists() else None
    if config.output.exists() and (not config.output.is_dir() or any(config.output.iterdir())):
        raise UserError(f"--output: {config.output} is there already (give a new or an empty folder)")
    model = _base_model(config, source, settings, record)
    if trained_on not in (None, fingerprint(model.path)):
        raise UserError(f"{config.source}: was trained on another model than {model.name}", exit_code=3)
    files.make_folder(config.output.parent)
    with tempfile.TemporaryDirectory(dir=config.output.parent, prefix=f".{config.output.name}.") as temporary:
        folder = Path(temporary) / "adapter"
        folder.mkdir()
        said = _convert(config.source, target, folder, settings, model)
        if record is not None:
            _converted(record, config.source, source, target).write(folder / files.RUN_RECORD)
        try:
            folder.rename(config.output)
            files.fsync(config.output.parent)
        except OSError as error:
            raise UserError(f"{config.output}: cannot be written: {error.strerror}", exit_code=4) from None
    for line in [*said, _use(config.output, target, model, record is not None)]:
        print(line)


def _read(folder: Path, source: Format, target: Format) -> tuple[dict[str, Any], str | None]:
    """The settings of the adapter, and the fingerprint of its model's weights where it names one.

    UserError where it cannot be converted, as far as its files alone can tell.
    """
    from finetune.backends.mlx import adapters
    from finetune.export.adapters import mlx_side, peft_side

    weights, path = folder / source.weights, folder / files.ADAPTER_CONFIG
    if not weights.is_file():
        if (folder / target.weights).is_file():
            raise UserError(f"{folder}: {target.title} has written it already (--to {_other(target)} converts it)")
        pickled = (folder / "adapter_model.bin").exists()
        remedy = "save it as safetensors: a pickle could run anything" if pickled else "give the folder of an adapter"
        raise UserError(f"{weights}: not found ({remedy})")
    settings = files.read_json(path, "what made the adapter")
    (mlx_side if source is FORMATS["mlx"] else peft_side).check(path, settings)
    arrays, metadata = adapters.read(weights)
    if source is FORMATS["peft"]:
        peft_side.check_names(weights, arrays)
    return settings, metadata.get("base")


def _other(one: Format) -> str:
    return next(name for name, format in FORMATS.items() if format is not one)


def _base_model(config: Config, source: Format, settings: Mapping[str, Any], record: RunRecord | None) -> ModelFolder:
    """The model of --model, of the record of the run, or of the adapter's settings; a Hub name is kept as the name."""
    if config.model is not None:
        return find_model(config.model, say)
    path, said, name = config.source / files.ADAPTER_CONFIG, settings.get(source.base), None
    if record is not None:
        path, said = config.source / files.RUN_RECORD, record.model.path
        name = record.model.name if record.model.source == "hub" else None
    if not isinstance(said, str) or not said:
        raise UserError(f"{path}: does not say which model the adapter is for (--model names it)")
    try:
        found = find_model(said, say)
    except UserError as error:
        raise UserError(f"{path}: its model: {error} (--model names another place)") from None
    return replace(found, name=name, source="hub") if name else found


def _convert(
    source_folder: Path, target: Format, folder: Path, settings: dict[str, Any], model: ModelFolder
) -> list[str]:
    """Write the converted adapter into ``folder`` and compare it with the source. What is to be said of it; UserError."""
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.model import load_network
    from finetune.backends.mlx.runtime import mx
    from finetune.export.adapters import check, mlx_side, names, peft_side

    weights = fingerprint(model.path)
    about = {"model": _name(model), "base": weights}
    prompts = check.prompts(model.path)
    network = load_network(model.path, mx.float32)
    torch_network = check.load_torch(model.path)
    layers = names.pair(network, torch_network)
    if target is FORMATS["peft"]:
        switch = adapters.load(network, source_folder, weights)
        adapter = mlx_side.read(network, settings)
        peft_side.write(folder, adapter, torch_network, layers, about)
        torch_model = peft_side.load(torch_network, folder)
    else:
        torch_model = peft_side.load(torch_network, source_folder)
        adapter = peft_side.read(torch_model, source_folder, layers)
        mlx_side.write(folder, adapter, network, layers, about)
        switch = adapters.load(network, folder, weights)
    network.eval()
    agreement = check.compare(prompts, torch_model, network, switch)
    nothing = adapters.changes_nothing(network) and agreement.effect <= check.TOLERANCE
    agreement.demand(nothing)
    effect = "the adapter changes nothing" if nothing else f"the adapter changes them by {agreement.effect:.2g}"
    return [
        f"{adapter}: {source_folder} is now {target.title}'s",
        f"Largest difference of logits, PEFT against MLX in float32: {agreement.difference:.1e} of their spread; {effect}.",
    ]


def _name(model: ModelFolder) -> str:
    return model.name if model.source == "hub" else str(model.path.resolve())


def _converted(record: RunRecord, folder: Path, source: Format, target: Format) -> RunRecord:
    """The record of the run that made the source, for the backend that reads the result."""
    origin = ConvertedFrom(str(folder.resolve()), source.title, files.file_hash(folder / source.weights))
    return replace(record, config={**record.config, "backend": target.backend}, converted_from=origin)


def _use(folder: Path, target: Format, model: ModelFolder, recorded: bool) -> str:
    if target is FORMATS["mlx"]:
        flags = shlex.join(["--model", _name(model), "--adapter-path", str(folder)])
        line = f"Use it: python -m mlx_lm generate {flags} --prompt ..."
    else:
        line = f"Use it: PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained({_name(model)!r}), {str(folder)!r})"
    return f"{line}\nOr: python test_finetuned.py --adapter-path {shlex.quote(str(folder))}" if recorded else line
