"""Adapters: attached to a network, saved with a hash of their content, and refused if they do not fit."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from finetune.backends.adapter_fit import demand_base, demand_fit
from finetune.backends.interface import MOST_COPIED_BYTES, AdapterFormat
from finetune.backends.mlx import embeddings
from finetune.backends.mlx.adaptable import LEAVES
from finetune.backends.mlx.adaptation import adaptation
from finetune.backends.mlx.runtime import Arrays, mx
from finetune.errors import UserError, shortened
from finetune.models.foreign import check_safetensors, foreign
from finetune.models.new_tokens import NewTokens
from finetune.records import files
from finetune.records.plain_path import plain_path
from finetune.settings.config import FINE_TUNE_TYPES, TrainingConfig

import mlx.nn as nn  # isort: skip  after the runtime
from mlx.utils import tree_flatten, tree_map, tree_unflatten  # isort: skip

FORMAT = AdapterFormat(files.ADAPTERS, "model")
_CHANGED = "_finetune_embeddings_changed"
_HALF = (mx.float16, mx.bfloat16)


def settings(network: Any, config: TrainingConfig) -> dict[str, object]:
    """What mlx_lm needs to attach the same layers (adapter_config.json). UserError if the model has no such layers."""
    return adaptation(network, config).settings


def settings_and_notes(
    network: Any, config: TrainingConfig, new: NewTokens | None = None
) -> tuple[dict[str, object], list[str]]:
    """The same, with what is trained of the embeddings, and what is not adapted although it was meant, a clause each."""
    found = adaptation(network, config, new)
    return found.settings, found.notes


def attach(network: Any, settings: Mapping[str, Any]) -> None:
    """Freeze the model and make its last layers trainable: by LoRA (arXiv 2106.09685), DoRA (2402.09353), or whole."""
    from mlx_lm.tuner.utils import linear_to_lora_layers

    network.freeze()
    kind, layers = settings.get("fine_tune_type", "lora"), settings["num_layers"]
    if kind == "full":
        for layer in network.layers[-layers:]:
            layer.unfreeze()
            for _, module in layer.named_modules():
                if "scales" in module:  # of experts too
                    raise UserError("--fine-tune-type full: a quantised model can only be adapted (use lora)")
    else:
        linear_to_lora_layers(network, layers, dict(settings["lora_parameters"]), use_dora=kind == "dora")
    if (wanted := of_embeddings(settings)) is not None:
        embeddings.attach(network, wanted)


def of_embeddings(settings: Mapping[str, Any]) -> embeddings.Trained | None:
    """What adapter_config.json says of trained embeddings; None if there are none. ValueError if no run wrote it."""
    value = settings.get(embeddings.KEY)
    return None if value is None else embeddings.Trained.read(value)


def begin(network: Any, settings: Mapping[str, Any], new: NewTokens | None) -> None:
    """``attach`` for a run: new tokens begin as what they were before, and what is trained is float32."""
    attach(network, settings)
    if (wanted := of_embeddings(settings)) is not None:
        embeddings.initialise(network, wanted, new)
    raise_trained(network)


def raise_trained(network: Any) -> None:
    """Make what is trained float32: in bfloat16 most steps of a usual learning rate round to no change of a weight at all."""
    network.update(raised(network.trainable_parameters()))


def raised(tree: Any) -> Any:
    """A tree of arrays with those of half precision in float32, which holds the same values."""
    return tree_map(lambda array: array.astype(mx.float32) if array.dtype in _HALF else array, tree)


def trainable(network: Any) -> Arrays:
    """The arrays that are trained, by name."""
    return dict(tree_flatten(network.trainable_parameters()))


def save(arrays: Mapping[str, Any], path: Path, about: Mapping[str, str] | None = None) -> None:
    """Write arrays as safetensors, atomically, with ``about`` and a SHA-256 of their content in the metadata."""
    metadata = {"format": "mlx", **(about or {}), "sha256": digest(arrays)}
    with files.atomic(path) as temporary:
        try:
            with plain_path(temporary) as plain:
                mx.save_safetensors(plain, dict(arrays), metadata=metadata)
        except RuntimeError as error:  # how MLX says that the disk is full
            raise OSError(str(error)) from None


def read(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Arrays and metadata of a file; UserError (exit 3) if it is damaged or holds a value that is not finite."""
    if files.is_special(path):
        raise UserError(f"{path}: not a regular file", exit_code=3)
    with foreign(f"{path}: cannot be loaded", exit_code=3), plain_path(path) as plain:
        check_safetensors(path)
        loaded: Any = mx.load(plain, return_metadata=True)
        arrays, metadata = loaded
    if "sha256" in metadata and metadata["sha256"] != digest(arrays):
        raise UserError(f"{path}: damaged: its content differs from what was saved", exit_code=3)
    for name, array in arrays.items():
        if mx.issubdtype(array.dtype, mx.floating) and not mx.isfinite(array).all().item():
            raise UserError(f"{path}: {name} has values that are not finite", exit_code=3)
    return arrays, metadata


def read_state(path: Path) -> Arrays:
    """``read`` for a training state: older versions trained whole layers in half precision on a GPU, and go on in float32."""
    return dict(raised(read(path)[0]))


def digest(arrays: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and values."""
    content = hashlib.sha256()
    for name in sorted(arrays):
        array: Any = mx.contiguous(arrays[name])
        content.update(f"{name} {array.dtype} {array.shape}".encode())
        content.update(memoryview(array.reshape(-1).view(mx.uint8)))
    return content.hexdigest()


def put_fitting(network: Any, path: Path, base: str) -> None:
    """Begin with the adapters of a file; UserError (exit 3) if it is damaged, does not fit or belongs to another model."""
    put(network, _read_fitting(path, trainable(network), base))


def _read_fitting(path: Path, own: Arrays, base: str | None) -> Arrays:
    """The arrays of a file that are to take the place of the network's ``own``. UserError as ``put_fitting``."""
    arrays, metadata = read(path)
    demand_base(path, metadata, base)
    demand_fit(path, _shapes(own), _shapes(arrays))
    for name, array in arrays.items():
        if array.dtype not in (mx.float32, mx.float16, mx.bfloat16):
            raise UserError(f"{path}: {name} has the type {array.dtype}, not float32, float16 or bfloat16", exit_code=3)
    # half precision would be trained on in half precision
    return {name: raised(array) if own[name].dtype == mx.float32 else array for name, array in arrays.items()}


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in arrays.items()}


def put(network: Any, arrays: Mapping[str, Any]) -> None:
    """Give the network's parameters these values, by name."""
    network.update(tree_unflatten(list(arrays.items())))


AdapterMode = Literal["attached", "disabled", "fused"]


class Switch:
    """The layers of a network with their adapter beside them, without it, or with it added into their weights; with trained
    embeddings in two of the three. ``whole`` switches layers that were trained in full."""

    def __init__(self, network: Any, layers: Mapping[AdapterMode, Arrays], whole: "WholeSwitch | None" = None):
        self._network, self._layers, self._whole = network, dict(layers), whole

    def __call__(self, state: AdapterMode) -> None:
        if self._whole:
            self._whole(state)
        if state not in self._layers:
            self._layers[state] = _fused(self._layers["attached"])
        self._network.update_modules(tree_unflatten(list(self._layers[state].items())))


@contextmanager
def fused_for_a_while(network: Any) -> Iterator[None]:
    """The adapter added into a copy of the weights, which decodes a fifth faster than beside them.

    Only if all of them are float32, since in lower precision a step's update may be too small to change a weight, and if
    the copy is small beside what a step takes anyway.
    """
    attached = _adapted(network)
    weights = [module.linear.weight for module in attached.values() if type(module.get("linear")) is nn.Linear]
    exact = len(weights) == len(attached) and all(weight.dtype == mx.float32 for weight in weights)
    if not exact or sum(weight.nbytes for weight in weights) > MOST_COPIED_BYTES:
        attached = {}
    network.update_modules(tree_unflatten(list(_fused(attached).items())))
    try:
        yield
    finally:
        network.update_modules(tree_unflatten(list(attached.items())))


def _adapted(network: Any) -> Arrays:
    return {name: module for name, module in network.named_modules() if "lora_b" in module}


def _fused(adapted: Mapping[str, Any]) -> Arrays:
    layers = {name: module.fuse() if "lora_b" in module else module for name, module in adapted.items()}
    mx.eval([module.parameters() for module in layers.values()])
    return layers


class WholeSwitch:
    """The same for layers that were trained in full: there is nothing to fuse."""

    def __init__(self, network: Any, trained: Mapping[str, Any], plain: Mapping[str, Any]):
        self._network, self._trained, self._plain = network, trained, plain

    def __call__(self, state: AdapterMode) -> None:
        put(self._network, self._plain if state == "disabled" else self._trained)


def load(network: Any, folder: Path, base: str | None = None) -> Callable[[AdapterMode], None]:
    """Attach the adapter of a folder; returns a function that changes its state. UserError (exit 3) if it does not fit.

    ``base`` is the fingerprint of the model's weights; an adapter that names another was trained on another model.
    """
    path = folder / files.ADAPTERS
    try:
        wanted = json.loads((folder / files.ADAPTER_CONFIG).read_text(encoding="utf-8"))
        if wanted["num_layers"] == -1:  # how mlx_lm says all
            wanted["num_layers"] = len(network.layers)
        _check(network, wanted)
        matrices = of_embeddings(wanted)
        base_modules = embeddings.modules_of(network, matrices) if matrices else {}
        attach(network, wanted)
    except FileNotFoundError:
        raise UserError(f"{folder / files.ADAPTER_CONFIG}: not found (run: python train.py)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        why = shortened(" ".join(str(error).split()), 200)
        raise UserError(f"{folder / files.ADAPTER_CONFIG}: does not fit the model: {why}", exit_code=3) from None
    parameters = trainable(network)
    if wanted.get("fine_tune_type") != "full":
        own = matrices.arrays if matrices else set()
        parameters = {name: of for name, of in parameters.items() if name.rsplit(".", 1)[-1] in LEAVES or name in own}
    arrays = _read_fitting(path, parameters, base)
    put(network, arrays)
    adapted, plain, whole = _adapted(network), dict(base_modules), None
    plain |= {name: module.embedding if "embedding" in module else module.linear for name, module in adapted.items()}
    if matrices:
        trained = embeddings.modules_of(network, matrices)
        adapted |= {name: embeddings.settled(module) for name, module in trained.items()}
        network.update_modules(tree_unflatten(list(adapted.items())))
        object.__setattr__(network, _CHANGED, matrices.count > 0 or _differ(trained, base_modules))
    if wanted.get("fine_tune_type") == "full":
        layers = parameters.keys() - (matrices.arrays if matrices else set())
        whole = WholeSwitch(network, *({name: of[name] for name in layers} for of in (arrays, parameters)))
    return Switch(network, {"attached": adapted, "disabled": plain}, whole)


def _differ(some: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    return not all(mx.array_equal(module.weight, others[name].weight).item() for name, module in some.items())


def _check(network: Any, wanted: Mapping[str, Any]) -> None:
    """ValueError if the settings could be attached but would not compute what was trained."""
    layers, kind = wanted["num_layers"], wanted.get("fine_tune_type", "lora")
    if not isinstance(kind, str) or kind not in FINE_TUNE_TYPES:
        raise ValueError(f"fine_tune_type is {shortened(repr(kind))} (known: {', '.join(FINE_TUNE_TYPES)})")
    if type(layers) is not int or not 1 <= layers <= len(network.layers):
        raise ValueError(f"num_layers is {layers!r}, the model has {len(network.layers)}")
    if kind == "full":
        return
    scale, rank, dropout = (wanted["lora_parameters"][name] for name in ("scale", "rank", "dropout"))
    keys = wanted["lora_parameters"].get("keys")
    if type(scale) not in (int, float) or not abs(scale) < 1e6:
        raise ValueError(f"the scale is {scale!r}")
    if type(rank) is not int or not 1 <= rank <= 1 << 16:
        raise ValueError(f"the rank is {rank!r}")
    if type(dropout) not in (int, float) or not 0 <= dropout < 1:
        raise ValueError(f"the dropout is {dropout!r}")
    if keys is not None and not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise ValueError(f"keys is {keys!r}, not a list of names")


def changes_nothing(network: Any) -> bool:
    """Whether an adapter that is switched on leaves the model as it was: every lora_b is 0, as before the first step."""
    if getattr(network, _CHANGED, False):
        return False
    leaves = {name: array for name, array in trainable(network).items() if name.rsplit(".", 1)[-1] == "lora_b"}
    return bool(leaves) and not any(mx.any(array != 0).item() for array in leaves.values())


def count(network: Any) -> int:
    return sum(math.prod(array.shape) for array in trainable(network).values())
