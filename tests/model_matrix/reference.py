"""The plain reference: mlx_lm's own model, each row alone and unpadded, full logits, ``nn.value_and_grad``; no code of ours.

What the product left in a kind's folder is compared with it. A cell that mlx_lm itself cannot compute says so.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map
from mlx_lm.generate import generate_step
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model

_GRADIENT, _LOSS, _LOGITS = 2e-3, 1e-4, 1e-3
_LAST_BIT, _STEEP = 1e-7, 4
_TIE = 2e-3  # of two logits: rounding decides which is larger


def network_of(kind: Path) -> Any:
    network, _ = load_model(kind / "model", lazy=False)
    return _in_float32(network)


def _in_float32(network: Any) -> Any:
    network.update(
        tree_map(lambda a: a.astype(mx.float32) if mx.issubdtype(a.dtype, mx.floating) else a, network.parameters())
    )
    return network


def itself(kind: Path) -> str:
    """Empty if mlx_lm can load the model and compute its logits; else the reason."""
    try:
        network = network_of(kind)
        logits = network(mx.array([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]))
        mx.eval(logits)
        finite = not bool(mx.isnan(logits).any())  # tokens that never come have -inf
        return "" if finite else "its logits are not finite"
    except Exception as error:  # noqa: BLE001  whatever happens is a cell
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def gradient(kind: Path, name: str) -> str:
    """Empty if the loss and gradients that the product left under ``name`` are right; else how far they are off.

    Some tiny random models are so steep that a change of their weights in the last bit shows: then that is what is allowed.
    """
    left = json.loads((kind / f"{name}.json").read_text())
    found = mx.load(str(kind / f"{name}.safetensors"))
    loss, wanted = _plain(kind, left, set(found))
    if abs(loss - left["loss"]) > _LOSS * abs(loss):
        return f"loss {left['loss']:.5f}, not {loss:.5f}"
    if found.keys() != wanted.keys():
        return f"gradients of other arrays: {sorted(found.keys() ^ wanted.keys())[:3]}"
    off, worst = _off(found, wanted)
    if off <= _GRADIENT or off <= _STEEP * _off(_plain(kind, left, set(found), noise=_LAST_BIT)[1], wanted)[0]:
        return ""
    return f"gradients off by {off:.0e} of the largest ({worst})"


def _off(found: Any, wanted: Any) -> tuple[float, str]:
    """The largest difference, by the largest gradient, and where it is."""
    size = max(float(mx.abs(array).max()) for array in wanted.values())
    off = {key: float(mx.abs(found[key] - array).max()) / size for key, array in wanted.items()}
    worst = max(off, key=off.__getitem__)
    return off[worst], worst


def _plain(kind: Path, left: Any, trained: set[str], noise: float = 0.0) -> tuple[float, Any]:
    """The loss per learned token of all rows and its gradients, each row alone."""
    network = network_of(kind)
    network.freeze()
    network = load_adapters(network, str(kind / left["kind"]))
    _in_float32(network)
    if left["kind"] == "full":
        _unfreeze(network, trained)
    if noise:
        mx.random.seed(0)
        network.update(
            tree_map(
                lambda a: a * (1 + noise * mx.random.normal(a.shape)) if a.dtype == mx.float32 else a,
                network.parameters(),
            )
        )
    network.train()  # some models keep what they make of their weights until they are trained

    def loss(network: Any, tokens: Any, labels: Any, mask: Any) -> Any:
        logits = network(tokens)[0]
        picked = mx.take_along_axis(nn.log_softmax(logits, axis=-1), labels[:, None], axis=-1).squeeze(-1)
        return -(picked * mask).sum()

    compute = nn.value_and_grad(network, loss)
    total, gradients, learned = 0.0, {}, 0
    for tokens, mask in left["examples"]:
        arrays = mx.array([tokens[:-1]]), mx.array(tokens[1:]), mx.array(mask[1:]).astype(mx.float32)
        value, tree = compute(network, *arrays)
        total, learned = total + float(value), learned + sum(mask[1:])
        for key, array in tree_flatten(tree):
            gradients[key] = gradients[key] + array if key in gradients else array
            mx.eval(gradients[key])
    return total / learned, {key: array / learned for key, array in gradients.items()}


def _unfreeze(network: Any, names: set[str]) -> None:
    for path, module in network.named_modules():
        own = [key for key in module if f"{path}.{key}".removeprefix(".") in names]
        if own:
            module.unfreeze(recurse=False, keys=own)


def attached(kind: Path) -> str:
    """The logits with the adapter that mlx_lm loads."""
    network = _in_float32(load_adapters(network_of(kind), str(kind / "lora")))
    network.eval()
    tokens = json.loads((kind / "probe.json").read_text())
    wanted = network(mx.array(tokens))
    found = mx.load(str(kind / "attached.safetensors"))["logits"]
    off = float(mx.abs(found - wanted).max() / wanted.std())
    return "" if off <= _LOGITS else f"logits off by {off:.0e} standard deviations"


def answers(kind: Path) -> str:
    """Greedy answers, one at a time by mlx_lm's own loop. Where they part, the two tokens may be equally likely."""
    left = json.loads((kind / "answers.json").read_text())
    network = network_of(kind)
    network.eval()
    parted = []
    for index, (prompt, answer) in enumerate(zip(left["prompts"], left["answers"], strict=True)):
        steps = generate_step(mx.array(prompt), network, max_tokens=len(answer))
        for at, (token, logprobs) in enumerate(steps):
            if int(token) != answer[at]:
                if float(logprobs[int(token)] - logprobs[answer[at]]) > _TIE:
                    parted.append(index)
                break
    return f"{len(parted)} of {len(left['answers'])} answers differ from one by one" if parted else ""


# column -> what it needs to have been left, and what compares it
CHECKS: dict[str, tuple[str, Callable[[Path], str]]] = {
    "gradients": ("lora.json", lambda kind: gradient(kind, "lora")),
    "checkpointing": ("checkpointing.json", lambda kind: gradient(kind, "checkpointing")),
    "shared prompts": ("shared.json", lambda kind: gradient(kind, "shared")),
    "DoRA": ("dora.json", lambda kind: gradient(kind, "dora")),
    "full": ("full.json", lambda kind: gradient(kind, "full")),
    "in mlx-lm": ("attached.safetensors", attached),
    "answers": ("answers.json", answers),
}
