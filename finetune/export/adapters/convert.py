"""Converts a folder with an adapter between MLX and PEFT, and keeps the result only if both compute the same logits."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import UserError
from finetune.export.adapters.adapter import Adapter
from finetune.models.find import ModelFolder, find_model
from finetune.models.fingerprint import fingerprint
from finetune.records import files
from finetune.records.run import ConvertedFrom, RunRecord, read_run

if TYPE_CHECKING:
    from finetune.export.adapters.check import Agreement


@dataclass(frozen=True)
class Format:
    """A kind of adapter folder: the library's name, its file of weights, and the key of the base model in its settings.

    ``backend`` is the ``--backend`` of train.py that writes and reads such folders.
    """

    title: str
    weights: str
    base: str
    backend: str


FORMATS = {
    "peft": Format("PEFT", files.PEFT_ADAPTERS, "base_model_name_or_path", "torch"),
    "mlx": Format("MLX", files.ADAPTERS, "model", "mlx"),
}


@dataclass(frozen=True)
class Conversion:
    """What was converted, and how well the two libraries agree on it.

    ``base`` is the base model's name on the Hub or its folder. ``changes_nothing`` is True if the adapter leaves the base model
    as it is. ``of_a_run`` is True if train.py made the source; the later stages then accept the result too.
    """

    adapter: Adapter
    agreement: "Agreement"
    changes_nothing: bool
    base: str
    of_a_run: bool


def convert_adapter(source: Path, to: str, output: Path, model: str | None, say: Callable[[str], None]) -> Conversion:
    """Convert the adapter in ``source`` to the format ``to``, one of ``FORMATS``, and write it to the folder ``output``.

    ``model`` names the base model; None takes the one that the source names. ``output`` must be new or empty; nothing is left
    in it if anything fails. UserError (exit 2) for what cannot be converted, (exit 3) for a damaged adapter or a result that
    computes something else, (exit 4) if ``output`` cannot be written.
    """
    if missing := [name for name in ("torch", "peft") if find_spec(name) is None]:
        are = "are" if len(missing) > 1 else "is"
        raise UserError(
            f"{' and '.join(missing)} {are} not installed, but needed for the check (run: make setup-torch)"
        )
    target, other = FORMATS[to], FORMATS["mlx" if to == "peft" else "peft"]
    settings, trained_on = _read(source, other, target)
    record = read_run(source) if (source / files.RUN_RECORD).exists() else None
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"--output: {output} already exists (use a new or an empty folder)")
    base = find_model(model, say) if model is not None else _recorded_base(source, other, settings, record, say)
    if trained_on not in (None, fingerprint(base.path)):
        raise UserError(f"{source}: the adapter was trained on another model than {base.name}", exit_code=3)
    files.make_folder(output.parent)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as temporary:
        folder = Path(temporary) / "adapter"
        folder.mkdir()
        conversion = _convert(source, target, folder, settings, base, of_a_run=record is not None)
        for name in files.TOKENIZER if record is not None and record.new_tokens else ():
            if (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
        if record is not None:
            _record(record, source, other, target).write(folder / files.RUN_RECORD)
        try:
            folder.rename(output)
            files.fsync(output.parent)
        except OSError as error:
            raise UserError(f"{output}: cannot be written: {error.strerror}", exit_code=4) from None
    return conversion


def _read(folder: Path, source: Format, target: Format) -> tuple[Mapping[str, object], str | None]:
    """The settings of the adapter, and the fingerprint of its base model's weights; None if the file names none.

    UserError for what can be seen from the files alone.
    """
    from finetune.backends.mlx import adapters
    from finetune.export.adapters import mlx_side, peft_side

    weights, path = folder / source.weights, folder / files.ADAPTER_CONFIG
    if not weights.is_file():
        if (folder / target.weights).is_file():
            flag = f"--to {source.title.lower()}"
            raise UserError(f"{folder}: already an adapter of {target.title} ({flag} converts it to {source.title})")
        pickled = (folder / "adapter_model.bin").exists()
        remedy = "save it as safetensors: a pickle can run any code" if pickled else "use the folder of an adapter"
        raise UserError(f"{weights}: not found ({remedy})")
    settings = files.read_json(path, "what made the adapter")
    (mlx_side if source is FORMATS["mlx"] else peft_side).check(path, settings)
    arrays, metadata = adapters.read(weights)
    if source is FORMATS["peft"]:
        peft_side.check_names(weights, arrays)
    else:
        mlx_side.check_arrays(weights, arrays)
    return settings, metadata.get("base")


def _recorded_base(
    folder: Path,
    source: Format,
    settings: Mapping[str, object],
    record: RunRecord | None,
    say: Callable[[str], None],
) -> ModelFolder:
    """The base model that the run's record names, or else the adapter's settings. It keeps its name on the Hub."""
    path, named, name = folder / files.ADAPTER_CONFIG, settings.get(source.base), None
    if record is not None:
        path, named = folder / files.RUN_RECORD, record.model.path
        name = record.model.name if record.model.source == "hub" else None
    if not isinstance(named, str) or not named:
        raise UserError(f"{path}: does not name the base model (pass it with --model)")
    try:
        found = find_model(named, say)
    except UserError as error:
        raise UserError(f"{path}: base model: {error} (if it is elsewhere, pass it with --model)") from None
    return replace(found, name=name, source="hub") if name else found


def _convert(
    source: Path, target: Format, folder: Path, settings: Mapping[str, object], base: ModelFolder, *, of_a_run: bool
) -> Conversion:
    """Write the converted adapter into ``folder`` and compare it with the source. UserError (exit 3) if they differ."""
    from finetune.backends import logits
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.model import load_network
    from finetune.backends.mlx.runtime import mx
    from finetune.export.adapters import check, mlx_side, names, peft_side

    weights = fingerprint(base.path)
    name = base.name if base.source == "hub" else str(base.path.resolve())
    about = {"model": name, "base": weights}
    prompts = logits.prompts(base.path)
    network = load_network(base.path, mx.float32)
    torch_network = check.load_torch(base.path)
    layers = names.pair(network, torch_network)
    if target is FORMATS["peft"]:
        switch = adapters.load(network, source, weights)
        adapter = mlx_side.read(network, settings)
        peft_side.grow(torch_network, adapter.embeddings)
        peft_side.write(folder, adapter, torch_network, layers, about)
        torch_model = peft_side.load(torch_network, folder)
    else:
        torch_model = peft_side.load(torch_network, source)
        adapter = peft_side.read(torch_model, source, layers)
        mlx_side.write(folder, adapter, network, layers, about)
        switch = adapters.load(network, folder, weights)
    network.eval()
    new = adapter.embeddings.ids if adapter.embeddings else range(0)
    agreement = check.compare(prompts, torch_model, network, switch, new)
    nothing = adapters.changes_nothing(network) and agreement.effect <= check.TOLERANCE
    agreement.demand(changes_nothing=nothing)
    return Conversion(adapter, agreement, nothing, name, of_a_run)


def _record(record: RunRecord, folder: Path, source: Format, target: Format) -> RunRecord:
    """The record of the run that made the source, for the backend that reads the result."""
    origin = ConvertedFrom(str(folder.resolve()), source.title, files.file_hash(folder / source.weights))
    return replace(record, config={**record.config, "backend": target.backend}, converted_from=origin)
