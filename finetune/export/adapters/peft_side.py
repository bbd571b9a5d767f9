"""An adapter folder of PEFT: adapter_model.safetensors, and adapter_config.json, which is its LoraConfig."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.backends import peft_settings
from finetune.backends.mlx import adapters
from finetune.errors import UserError, shortened
from finetune.export.adapters.adapter import Adapter, Embeddings, Part
from finetune.export.adapters.names import Layers
from finetune.records import files

_PREFIX = "base_model.model."
_LEAVES = {"a": "lora_A.weight", "b": "lora_B.weight", "m": "lora_magnitude_vector"}
_NAME = re.compile(re.escape(_PREFIX) + r"(.+)\.(" + "|".join(map(re.escape, _LEAVES.values())) + ")")

_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # values of init_lora_weights


def check(path: Path, settings: Mapping[str, Any]) -> None:
    """UserError if the settings, read from ``path``, describe an adapter that MLX cannot express."""
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise UserError(f"{path}: peft_type {shortened(repr(kind))} cannot be converted (supported: LORA)")
    for name in peft_settings.WITHOUT_COUNTERPART:
        if settings.get(name):
            raise UserError(f"{path}: {name} has no counterpart in MLX")
    if (bias := settings.get("bias", "none")) != "none":
        raise UserError(f"{path}: bias {shortened(repr(bias))} has no counterpart in MLX, which does not train biases")
    if str(begin := settings.get("init_lora_weights")).startswith(_CHANGES_THE_BASE):
        raise UserError(
            f"{path}: init_lora_weights {shortened(repr(begin))} changes the base model, which MLX does not support"
        )
    try:
        peft_settings.check(settings)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def check_names(path: Path, arrays: Mapping[str, Any]) -> None:
    """UserError if ``arrays``, read from ``path``, are more than LoRA or DoRA of linear modules, or empty."""
    for name in arrays:
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{path}: {shortened(name)} has no counterpart in MLX (supported: LoRA and DoRA of linear modules)"
            )
    if not arrays:
        raise UserError(f"{path}: the file is empty", exit_code=3)


def load(network: Any, folder: Path) -> Any:
    """Wrap transformers' network into a PEFT model with the adapter in ``folder``. UserError (exit 3) if it does not fit."""
    import peft
    from safetensors import SafetensorError

    settings = files.read_json(folder / files.ADAPTER_CONFIG, "what made the adapter")
    try:
        peft_settings.check_patterns(settings, [name for name, _ in network.named_modules()])
        with warnings.catch_warnings():  # they are about keys, which are compared below
            warnings.simplefilter("ignore")
            model = peft.PeftModel.from_pretrained(network, str(folder))
    except (
        SafetensorError,
        re.error,
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OSError,
    ) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{folder}: does not fit the model: {why[:300]}", exit_code=3) from None
    arrays, _ = adapters.read(folder / files.PEFT_ADAPTERS)
    for name in sorted(arrays.keys() ^ peft.get_peft_model_state_dict(model, save_embedding_layers=False).keys()):
        what = "is not in the model" if name in arrays else "is missing"
        raise UserError(f"{folder / files.PEFT_ADAPTERS}: does not fit the model: {name} {what}", exit_code=3)
    return model.eval()


def read(model: Any, folder: Path, layers: Layers) -> Adapter:
    """The adapter attached to the PEFT model, with the arrays of ``folder`` in their own types.

    UserError if modules have different ranks, which MLX does not support.
    """
    from peft.tuners.lora import LoraLayer

    config, (arrays, _) = model.peft_config["default"], adapters.read(folder / files.PEFT_ADAPTERS)
    parts, ranks = {}, {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            a, b = arrays[f"{name}.{_LEAVES['a']}"], arrays[f"{name}.{_LEAVES['b']}"]
            ours = layers.to_mlx(name.removeprefix(_PREFIX))
            parts[ours] = Part(a.T, b.T, arrays.get(f"{name}.{_LEAVES['m']}"), float(module.scaling["default"]))
            ranks[module.r["default"]] = ours
    if len(ranks) > 1:
        listed = ", ".join(f"{rank} of {name}" for rank, name in sorted(ranks.items()))
        raise UserError(f"{folder}: modules have different ranks ({listed}); MLX has one rank for all")
    return Adapter(bool(config.use_dora), min(ranks), float(config.lora_dropout), parts)


def write(folder: Path, adapter: Adapter, network: Any, layers: Layers, about: Mapping[str, str]) -> None:
    """Write an adapter folder of PEFT, for transformers' network: adapter_model.safetensors and adapter_config.json.

    ``about["model"]`` is the base model's folder or name, ``about["base"]`` the fingerprint of its weights. UserError if the
    network does not have one of the modules.
    """
    from peft import LoraConfig

    names = {layers.to_torch(name): part for name, part in adapter.parts.items()}
    modules = dict(network.named_modules())
    for name in names:
        if name not in modules:
            raise UserError(f"{name}: not a module of {type(network).__name__} in transformers")
    scale = next(iter(adapter.parts.values())).scale  # MLX has one scale for all
    config = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=about["model"],
        r=adapter.rank,
        lora_alpha=_alpha(scale, adapter.rank),
        lora_dropout=adapter.dropout,
        use_dora=adapter.dora,
        fan_in_fan_out=any(
            type(modules[name]).__name__ == "Conv1D" for name in names
        ),  # GPT-2's weights lie the other way
        inference_mode=True,
        **_targets(names, modules, layers),
        **_of_embeddings(adapter.embeddings, network),
    )
    settings = {name: sorted(value) if isinstance(value, set) else value for name, value in config.to_dict().items()}
    files.write_json(folder / files.ADAPTER_CONFIG, settings)
    arrays = {
        f"{_PREFIX}{name}.{_LEAVES[leaf]}": array if leaf == "m" else array.T
        for name, part in names.items()
        for leaf, array in zip("abm", part[:3], strict=True)
        if array is not None
    }
    arrays |= _matrices(adapter.embeddings, network)
    adapters.save(arrays, folder / files.PEFT_ADAPTERS, {"format": "pt", "base": about["base"]})


def grow(network: Any, found: Embeddings | None) -> None:
    """Give transformers' network the rows that the adapter has embeddings for; their values are in the adapter."""
    if found and network.get_input_embeddings().weight.shape[0] < found.vocabulary:
        network.resize_token_embeddings(found.vocabulary, mean_resizing=False)


def _ends(network: Any, found: Embeddings) -> list[str]:
    """The names of transformers' modules for the trained matrices: the embeddings, then the head if it is another one.

    UserError if transformers ties them and MLX does not, or the other way round.
    """
    names = {id(module): name for name, module in network.named_modules()}
    inputs, outputs = network.get_input_embeddings(), network.get_output_embeddings()
    tied = outputs is None or outputs.weight is inputs.weight
    if tied != (found.outputs is None):
        raise UserError(
            "the embeddings cannot be converted: only one of the libraries has the head as a matrix of its own"
        )
    return [names[id(inputs)], *([] if tied else [names[id(outputs)]])]


def _of_embeddings(found: Embeddings | None, network: Any) -> Mapping[str, Any]:
    """Settings of PEFT for trained embeddings. In transformers a tied head is a module that PEFT ties by itself."""
    if found is None:
        return {}
    names = [name.rpartition(".")[2] for name in _ends(network, found)]
    if not found.whole:
        return {"trainable_token_indices": {name: [*range(found.first, found.first + found.count)] for name in names}}
    return {"modules_to_save": names, "ensure_weight_tying": found.outputs is None}


def _matrices(found: Embeddings | None, network: Any) -> dict[str, object]:
    """The arrays of trained embeddings, by the names that PEFT saves them under."""
    if found is None:
        return {}
    names = _ends(network, found)
    if found.whole and found.outputs is None and (head := network.get_output_embeddings()) is not None:
        names.append(next(name for name, module in network.named_modules() if module is head))
    leaf = "weight" if found.whole else "token_adapter.trainable_tokens_delta"
    arrays = [found.inputs, found.inputs if found.outputs is None else found.outputs]
    return {f"{_PREFIX}{name}.{leaf}": array for name, array in zip(names, arrays, strict=False)}


def _alpha(scale: float, rank: int) -> float:
    """PEFT's alpha: its scale is alpha / rank. An integer if it is one but for rounding."""
    alpha = scale * rank
    return round(alpha) if abs(alpha - round(alpha)) < 1e-9 else alpha


def _targets(wanted: Mapping[str, Part], modules: Mapping[str, Any], layers: Layers) -> Mapping[str, object]:
    """The shortest setting that selects the wanted modules: their last names, these in some layers, or their full names."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    last = sorted({name.rpartition(".")[2] for name in wanted})
    numbers = sorted({layers.place(layers.to_mlx(name))[0] for name in wanted})
    some = {"layers_to_transform": numbers, "layers_pattern": layers.torch.rpartition(".")[2]}
    for targets in ({"target_modules": last}, {"target_modules": last, **some}):
        config = LoraConfig(**targets)
        if {name for name in modules if check_target_module_exists(config, name)} == wanted.keys():
            return targets
    return {"target_modules": sorted(wanted)}
