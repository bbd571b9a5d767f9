"""A folder with a tiny random model of any type that mlx-lm has, and a tokenizer of its own.

    build("qwen3", folder)                            as mlx_lm.convert writes it, rope_theta at the top of config.json
    build("qwen3", folder, form="new")                with rope_parameters, as transformers 5 writes it
    build("llama", folder, tie_word_embeddings=True)  settings that differ
    build("llama 4-bit", folder)                      a variant of kinds.VARIANTS
    torch_build("qwen3", folder)                      saved by transformers itself, which needs PyTorch

``TYPES`` are the names of all types, ``KINDS`` with the variants.
"""

import importlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
import mlx_lm.models
from mlx.utils import tree_flatten, tree_map_with_path

from model_matrix.cells import CannotBuildError, cleaned
from model_matrix.kinds import BORROWED, HEADS, INNER, KEPT, OWN, SAVED, SIZES, UNKNOWN, VARIANTS, WITHIN

VOCABULARY = 320
_MOST_PARAMETERS = 20_000_000
END = "<|im_end|>"
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_WORDS = (
    "What is the capital of a country? It is a city. Count from one to nine and add two. Yes, no, SELECT name FROM t;"
)
# of a module of mlx_lm: the class that holds a wrapper's settings for its text model
_TEXT_CLASSES = ("TextArgs", "TextConfig", "TextModelArgs")
_MODULES = Path(mlx_lm.models.__file__).parent


def _types() -> Iterator[str]:
    for path in sorted(_MODULES.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "\nclass Model(" in text and ("\nclass ModelArgs(" in text or "ModelArgs" in text):
            yield path.stem


TYPES = tuple(_types())
KINDS = (*TYPES, *VARIANTS)


def build(kind: str, folder: Path, form: str = "old", **changes: Any) -> Path:
    """Write a model of ``kind``, one of ``KINDS``, into ``folder``, which is made; returns it.

    ``form``: "old", or "new" with rope_parameters. ``changes``: settings of config.json, of the text model in a wrapper; and
    ``quantize`` (bits, group_size, mode, more), ``dtype``, ``shards``. CannotBuildError with the reason if there is none.
    """
    if kind in UNKNOWN:
        return _without_weights({"model_type": kind, **UNKNOWN[kind]}, folder)
    config, options = config_of(kind, **changes)
    module = _module(config["model_type"])
    mx.random.seed(zlib.crc32(kind.encode()))
    try:
        network = module.Model(module.ModelArgs.from_dict(json.loads(json.dumps(config))))
    except Exception as error:
        raise CannotBuildError(f"{type(error).__name__}: {error}") from error
    network.update(tree_map_with_path(_random, network.parameters()))
    if quantize := options.get("quantize"):
        config = _quantized(network, config, **quantize)
    dtype = getattr(mx, options.get("dtype", "float32"))
    arrays = {
        name: array.astype(dtype) if array.dtype == mx.float32 else array
        for name, array in tree_flatten(network.parameters())
    }
    folder.mkdir(parents=True, exist_ok=True)
    _save(arrays, folder, options.get("shards", 1))
    (folder / "config.json").write_text(json.dumps(as_transformers_5(config) if form == "new" else config, indent=1))
    write_tokenizer(folder)
    return folder


def config_of(kind: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config.json of a kind, in the old form, and the options that are none of its settings."""
    model_type, of_variant = VARIANTS.get(kind, (kind, {}))
    changes = {**of_variant, **changes}
    options = {name: changes.pop(name) for name in ("quantize", "dtype", "shards") if name in changes}
    inner = changes.pop("inner", None)
    module = _module(model_type)
    wraps = "text_config" in {field.name for field in fields(module.ModelArgs)}
    about = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    if not wraps:
        return {**about, **_settings(model_type, module.ModelArgs), **changes, "model_type": model_type}, options
    text_class = next((getattr(module, name) for name in _TEXT_CLASSES if hasattr(module, name)), None)
    inner = inner or INNER.get(model_type, model_type)
    if inner != model_type or text_class is None:
        of_inner = config_of(inner)[0]
        settings = {**(of_inner.get("text_config") or of_inner), "model_type": inner}
    else:
        settings = {**_settings(model_type, text_class), "model_type": f"{model_type}_text"}
    settings = {**settings, **WITHIN.get(model_type, {}), **changes}
    top = {**OWN.get(model_type, {}), "vocab_size": settings["vocab_size"]} if inner != model_type else {}
    return {**about, **top, "model_type": model_type, "text_config": settings}, options


def _settings(model_type: str, arguments: type) -> dict[str, Any]:
    """Small values for the fields of a class of settings; CannotBuildError if one that is needed has none."""
    own = {"vocab_size": VOCABULARY, "embedding_size": VOCABULARY, "vocab_size_per_layer_input": VOCABULARY}
    own |= OWN.get(model_type, {})
    found: dict[str, Any] = {}
    unknown = []
    names = {field.name: field for field in fields(arguments)}
    if "kv_lora_rank" in names:  # of latent attention, every head has keys of its own, and a part for positions
        own = {"num_key_value_heads": HEADS, "partial_rotary_factor": 1.0, **own}
    if model_type in BORROWED:
        names |= {field.name: field for field in fields(_module(BORROWED[model_type]).ModelArgs)}
    for name, field in names.items():
        required = field.default is MISSING and field.default_factory is MISSING
        if name in own:
            found[name] = own[name]
        elif name in SIZES and (required or name not in KEPT):
            found[name] = SIZES[name]
        elif isinstance(field.default, (bool, int, float, str)):  # said, because other libraries have other defaults
            found[name] = field.default
        elif required and name not in ("model_type", "text_config"):
            unknown.append(name)
    if unknown:
        raise CannotBuildError(f"no size for {', '.join(unknown)}")
    return {**found, **{name: value for name, value in own.items() if name in names or name in OWN.get(model_type, {})}}


def as_transformers_5(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings as transformers 5 writes them: by its own class if it has one, else with rope_parameters alone."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kept = {name: config[name] for name in ("quantization", "quantization_config") if name in config}
    given = {name: value for name, value in config.items() if name not in ("model_type", *kept)}
    if config["model_type"] in CONFIG_MAPPING:
        made = AutoConfig.for_model(config["model_type"], **json.loads(json.dumps(given)))
        written = json.loads(made.to_json_string(use_diff=True))
        if ("text_config" in written) == ("text_config" in given):  # of some types it knows only the wrapper
            return {**written, **kept}
    text = config.get("text_config")
    if text:
        return {**config, "text_config": _with_rope_parameters(text)}
    return _with_rope_parameters(config)


def _with_rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(config)
    if "rope_parameters" in new or not {"rope_theta", "rope_scaling"} & new.keys():
        return new
    scaling = dict(new.pop("rope_scaling", None) or {})
    kind = scaling.pop("type", scaling.pop("rope_type", "default"))
    new["rope_parameters"] = {"rope_type": kind, "rope_theta": new.pop("rope_theta"), **scaling}
    if "partial_rotary_factor" in new:
        new["rope_parameters"]["partial_rotary_factor"] = new.pop("partial_rotary_factor")
    return new


def _module(model_type: str) -> Any:
    try:
        return importlib.import_module(f"mlx_lm.models.{model_type}")
    except (Exception, SystemExit) as error:  # a module may end the process, or need what is not there
        raise CannotBuildError(f"mlx_lm cannot import it: {type(error).__name__}: {error}") from error


def _random(name: str, array: Any) -> Any:
    """Weights with which every part matters: nothing stays 0 or 1, and attention is no plain mean."""
    mx.random.seed(zlib.crc32(name.encode()))
    if not mx.issubdtype(array.dtype, mx.floating):
        return mx.random.randint(0, 2**31 - 1, array.shape).astype(array.dtype)
    noise = mx.random.normal(array.shape)
    if array.ndim < 2:
        return (array + 0.1 * noise).astype(array.dtype)
    size = array.shape[-1]
    return (1.5 / size**0.5 * noise).astype(array.dtype)


def _quantized(
    network: Any, config: dict[str, Any], more: Mapping[str, Any] | None = None, **quantize: Any
) -> dict[str, Any]:
    from mlx_lm.utils import quantize_model

    def predicate(path: str, module: Any) -> Any:
        if not hasattr(module, "to_quantized") or module.weight.shape[-1] % quantize["group_size"]:
            return False
        return dict(more) if more and path.endswith(("v_proj", "lm_head", "embed_tokens")) else True

    mode = quantize.get("mode", "affine")
    group, bits = quantize["group_size"], quantize["bits"]
    return quantize_model(network, config, group, bits, mode=mode, quant_predicate=predicate)[1]


def _without_weights(config: dict[str, Any], folder: Path) -> Path:
    """A folder that looks like a model's."""
    folder.mkdir(parents=True, exist_ok=True)
    _save({"weight": mx.zeros((1,))}, folder, 1)
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    return folder


def _save(arrays: Mapping[str, Any], folder: Path, shards: int) -> None:
    if shards == 1:
        mx.save_safetensors(str(folder / "model.safetensors"), dict(arrays), metadata={"format": "mlx"})
        return
    weights = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(list(arrays.items())[shard::shards])
        mx.save_safetensors(str(folder / name), part, metadata={"format": "mlx"})
        weights |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer of 320 tokens with a ChatML template: 0 begins a text, 1 ends a turn."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", END, "<|im_start|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([_WORDS], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "bos_token": special[0]}
    settings |= {"clean_up_tokenization_spaces": False, "chat_template": _TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def torch_build(kind: str, folder: Path) -> Path:
    """A model of this type made and saved by transformers; CannotBuildError if it has no such type."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config, options = config_of(kind, **SAVED.get(kind, {}))
    if options:
        raise CannotBuildError("transformers saves no weights of this kind")
    model_type = config["model_type"]
    torch.manual_seed(zlib.crc32(kind.encode()))
    try:
        made = AutoConfig.for_model(
            model_type, **{name: value for name, value in config.items() if name != "model_type"}
        )
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(made).parameters())
        if size > _MOST_PARAMETERS:
            raise ValueError(f"parts beside its text model have {size:,} parameters")
        network = AutoModelForCausalLM.from_config(made, dtype=torch.float32)
    except Exception as error:
        if "Unrecognized configuration class" in str(error):
            raise CannotBuildError("transformers has no text model of this type alone") from error
        if "Unrecognized model identifier" in str(error):
            raise CannotBuildError("transformers has no such type") from error
        raise CannotBuildError(cleaned(f"transformers has no model of it: {type(error).__name__}: {error}")) from error
    with torch.no_grad():
        chosen_with = [buffer for name, buffer in network.named_buffers() if name.endswith("e_score_correction_bias")]
        for parameter in (*network.parameters(), *chosen_with):
            noise = torch.randn_like(parameter)
            small = parameter + 0.1 * noise if parameter.ndim < 2 else 1.5 / parameter.shape[-1] ** 0.5 * noise
            parameter.copy_(small)
    network.save_pretrained(folder)
    write_tokenizer(folder)
    return folder
