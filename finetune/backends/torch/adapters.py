"""LoRA and DoRA by PEFT: saved as PEFT reads them, with a hash of their content, and refused if they do not fit."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import peft
import safetensors
import safetensors.torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from transformers.pytorch_utils import Conv1D

from finetune.backends import lora_modules, peft_settings
from finetune.backends.adapter_fit import demand_base, demand_fit
from finetune.backends.interface import MOST_COPIED_BYTES, AdapterFormat
from finetune.backends.lora_modules import Place
from finetune.backends.torch.runtime import Tensors, torch
from finetune.errors import UserError, first_line, shortened
from finetune.records import files
from finetune.settings.config import TrainingConfig

FORMAT = AdapterFormat(files.PEFT_ADAPTERS, "base_model_name_or_path")
AdapterMode = Literal["attached", "disabled", "fused"]
_MAMBA = {
    "falcon_h1",
    "mamba",
    "mamba2",
    "falcon_mamba",
    "nemotron_h",
}  # as PEFT's check of its target modules has them
Plain = list[tuple[Any, Any]]  # layers with their own weights


def settings(network: Any, config: TrainingConfig) -> peft.LoraConfig:
    """The same modules, rank and scale as on MLX. UserError if the model has no such modules."""
    modules, wanted = dict(network.named_modules()), chosen(network, config)
    alpha = config.lora_scale * config.lora_rank if config.lora_alpha is None else config.lora_alpha
    return peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=config.lora_rank,
        lora_alpha=alpha,
        lora_dropout=config.lora_dropout,
        use_rslora=config.rslora,
        use_dora=config.fine_tune_type == "dora",
        fan_in_fan_out=any(type(modules[place.path]) is Conv1D for place in wanted),
        **_targets(network, wanted),
    )


def chosen(network: Any, config: TrainingConfig) -> list[Place]:
    """The modules that the settings adapt. UserError if the model has no such modules."""
    found = lora_modules.choose(config, places(network), len(_layers(network)[1]), _barred(network))
    if not found:
        raise _unknown(network)
    return found


def places(network: Any) -> list[Place]:
    """The modules of the model's layers that can be adapted."""
    listed, layers = _layers(network)
    return [
        Place(number, name, f"{listed}.{number}.{name}")
        for number, layer in enumerate(layers)
        for name, module in layer.named_modules()
        if _is_linear(module)
    ]


def notes(network: Any, config: TrainingConfig) -> list[str]:
    """What is not adapted although it was meant, a clause each."""
    return lora_modules.notes(config, places(network), _barred(network))


def _barred(network: Any) -> dict[str, str]:
    modules, found = dict(network.named_modules()), places(network)
    more = "PEFT does not adapt it, because its class computes more than a product"
    barred = {place.name: more for place in found if not _is_plain(modules[place.path])}
    others = {last for last in {place.last for place in found} if _is_of_experts(network, last)}
    experts = "PEFT would adapt the experts of all layers instead"
    barred |= {place.name: experts for place in found if place.last in others}
    if network.config.model_type in _MAMBA:
        why = "PEFT does not adapt it, because a kernel of Mamba reads its weight"
        barred |= {place.name: why for place in found if place.last == "out_proj"}
    return barred


def _targets(network: Any, chosen: Sequence[Place]) -> Mapping[str, Any]:
    """The shortest settings of PEFT that select these modules: their last names, these in some layers, or their whole names."""
    last = sorted({place.last for place in chosen})
    some = {"layers_to_transform": sorted({place.layer for place in chosen}), "layers_pattern": chosen[0].layers}
    wanted, names = {place.path for place in chosen}, [name for name, _ in network.named_modules()]
    for targets in ({"target_modules": last}, {"target_modules": last, **some}):
        config = peft.LoraConfig(**targets)
        if {name for name in names if check_target_module_exists(config, name)} == wanted:
            return targets
    return {"target_modules": sorted(wanted)}


def _is_linear(module: Any) -> bool:
    return isinstance(module, (torch.nn.Linear, Conv1D))


def _is_plain(module: Any) -> bool:
    """Whether it computes what its class of PyTorch or transformers computes: a router may choose experts besides."""
    return type(module).forward in (torch.nn.Linear.forward, Conv1D.forward)


def _is_of_experts(network: Any, last: str) -> bool:
    """Whether PEFT takes a module's name for that of experts, which Transformers 5 keeps in arrays of their own."""
    config = peft.LoraConfig(target_modules=[last])
    try:
        convert_peft_config_for_transformers(config, network, None)
    except ValueError:  # for one of two names that only count together
        return True
    return bool(config.target_parameters)


def _layers(network: Any) -> tuple[str, Any]:
    """The blocks of the model and the name of their list: "model.layers", GPT-2's "transformer.h"."""
    depth = network.config.get_text_config().num_hidden_layers
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth:
            return name, module
    raise _unknown(network)


def _unknown(network: Any) -> UserError:
    return UserError(f"models of type {network.config.model_type} cannot be adapted with --backend torch")


def attach(network: Any, lora: peft.LoraConfig) -> peft.PeftModel:
    """Freeze the model and put LoRA (arXiv 2106.09685) or DoRA (2402.09353) on it; its weights in float32."""
    return peft.PeftModel(network, lora)


def config_record(lora: peft.LoraConfig) -> dict[str, object]:
    """adapter_config.json as PEFT writes it."""
    return {name: sorted(value) if isinstance(value, set) else value for name, value in lora.to_dict().items()}


def trained(model: peft.PeftModel) -> Tensors:
    """The adapter's tensors, on the CPU, by the names that PEFT saves them under."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in peft.get_peft_model_state_dict(model).items()}


def save(tensors: Mapping[str, Any], path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, atomically, with ``about`` and a SHA-256 of their content in the metadata."""
    metadata = {"format": "pt", **(about or {}), "sha256": digest(tensors)}
    with files.atomic(path) as temporary:
        try:
            safetensors.torch.save_file(dict(tensors), str(temporary), metadata=metadata)
        except safetensors.SafetensorError as error:  # how it says that the disk is full
            raise OSError(str(error)) from None


def read(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and metadata of a file; UserError (exit 3) if it is damaged or holds a value that is not finite."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: cannot be loaded: {first_line(error)}", exit_code=3) from None
    if "sha256" in metadata and metadata["sha256"] != digest(tensors):
        raise UserError(f"{path}: damaged: its content differs from what was saved", exit_code=3)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UserError(f"{path}: {name} has values that are not finite", exit_code=3)
    return tensors, metadata


def digest(tensors: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and values: the one that MLX's side has for the same file, so types go by its names."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        content.update(f"{name} mlx.core.{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}".encode())
        content.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return content.hexdigest()


def put(model: peft.PeftModel, tensors: Mapping[str, Any], path: Path = Path()) -> None:
    """Give the adapter these values, of the file ``path``; UserError (exit 3) if they do not fit its own tensors."""
    own = peft.get_peft_model_state_dict(model)
    demand_fit(path, *({name: tuple(t.shape) for name, t in some.items()} for some in (own, tensors)))
    peft.set_peft_model_state_dict(model, dict(tensors))


def load(network: Any, folder: Path, base: str | None = None) -> tuple[peft.PeftModel, Callable[[AdapterMode], None]]:
    """The model with the adapter of a folder attached, and a function that changes its state. UserError (exit 3) if it does
    not fit.

    ``base`` is the fingerprint of the model's weights; an adapter that names another was trained on another model.
    """
    path = folder / files.ADAPTER_CONFIG
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        peft_settings.check(record)
        for name in peft_settings.WITHOUT_COUNTERPART:
            if record.get(name):
                raise ValueError(f"{name} is not supported")
        peft_settings.check_patterns(record, [name for name, _ in network.named_modules()])
        lora = peft.LoraConfig.from_pretrained(str(folder))
        lora.inference_mode = True
        model = attach(network, lora)
    except FileNotFoundError:
        raise UserError(f"{path}: not found (run: python train.py)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        raise UserError(
            f"{path}: does not fit the model: {shortened(' '.join(str(error).split()), 200)}", exit_code=3
        ) from None
    tensors, metadata = read(folder / FORMAT.file)
    demand_base(folder / FORMAT.file, metadata, base)
    put(model, tensors, folder / FORMAT.file)
    return model, Switch(model)


class Switch:
    """The layers of a model with their adapter beside them, without it, or with it added into a copy of their weights."""

    def __init__(self, model: peft.PeftModel):
        self._lora = model.base_model
        self._now: AdapterMode = "attached"
        self._plain: Plain = []  # while the weights of the fused model stand in their place

    def __call__(self, state: AdapterMode) -> None:
        if state == self._now:
            return
        _unfuse(self._plain)
        self._plain = []
        if state == "disabled":
            self._lora.disable_adapter_layers()
        else:
            self._lora.enable_adapter_layers()
        if state == "fused":
            self._plain = _fuse(self._lora)
        self._now = state


@contextmanager
def fused_for_a_while(network: Any) -> Iterator[None]:
    """The adapter added into a copy of the weights, which decodes faster; under the same conditions as on MLX."""
    weights = [layer.get_base_layer().weight for layer in _adapted(network)]
    exact = all(weight.dtype == torch.float32 for weight in weights)
    plain = _fuse(network) if exact and sum(weight.nbytes for weight in weights) <= MOST_COPIED_BYTES else []
    try:
        yield
    finally:
        _unfuse(plain)


def _adapted(network: Any) -> list[Any]:
    return [module for module in network.modules() if isinstance(module, LoraLayer)]


def _attached(layer: Any) -> bool:
    return not layer.merged and not layer.disable_adapters


def _fuse(network: Any) -> Plain:
    """Add the adapter into a copy of each weight; returns what ``_unfuse`` puts back."""
    plain = [(layer, layer.get_base_layer().weight.data) for layer in _adapted(network) if _attached(layer)]
    for layer, weight in plain:
        layer.get_base_layer().weight.data = weight.clone()
        layer.merge()
    return plain


def _unfuse(plain: Plain) -> None:
    """Not by subtracting the update again: that would not give the same weights back."""
    for layer, weight in plain:
        layer.merged_adapters.clear()
        layer.get_base_layer().weight.data = weight


def changes_nothing(model: peft.PeftModel) -> bool:
    """Whether an adapter leaves the model as it was: every lora_B is 0, as before the first step."""
    leaves = [tensor for name, tensor in model.named_parameters() if ".lora_B." in name]
    return bool(leaves) and not any(tensor.any() for tensor in leaves)


def count(model: Any) -> int:
    return sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)
