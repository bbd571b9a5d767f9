"""Where the parts of a network are: its layers, the trunk that makes hidden states of tokens, and the output head.

The models of mlx_lm nest and name them in many ways, and some do more with the logits than multiply by a matrix. So nothing is
taken from a name: what is found counts only if it computes, on a few tokens, what the network itself computes. Whoever finds no
such part uses the network's own logits, which are always right.
"""

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from finetune.backends.mlx.embeddings import GROWN
from finetune.backends.mlx.exact_embeddings import EXACT
from finetune.backends.mlx.proofs import UNFIT, in_half, largest
from finetune.backends.mlx.runtime import mx

import mlx.nn as nn  # isort: skip  after the runtime

PLAIN = (nn.Linear, nn.Embedding)
QUANTISED = (nn.QuantizedLinear, nn.QuantizedEmbedding)
_PROBE = [[1, 2, 3]]
_LOUD = 100.0  # largest logit that a proof compares: with small ones a soft cap would not be seen
_DEAFENING = 1e6  # far above every soft cap
_KNOWN = "_finetune_layout"


@dataclass(frozen=True)
class Layout:
    """The parts of a network. ``trunk`` and ``matrix`` have been proven on it; ``head`` is the matrix if nothing follows it."""

    layers: list[Any] = field(repr=False)  # the blocks, in order
    trunk: Any | None  # hidden [rows, length, size] = trunk(inputs, cache=...)
    head: Any | None  # module whose weight [vocabulary, size], quantised or not, makes logits = hidden @ weight.T
    why: str  # if trunk or head is None: the reason, as a clause about the model
    # module whose weight, and bias if it has one, makes the logits of hidden, before a soft cap cap * tanh(logits / cap)
    matrix: Any | None = None
    cap: float | None = None
    _key: tuple[object, ...] = field(default=(), repr=False)


def layout_of(network: Any) -> Layout:
    """The layout of a network that mlx_lm has loaded: looked up and proven once, and again if a module outside its layers has
    been replaced since. Computes the network twice on three tokens."""
    layers = [layer for layer in network.layers if layer is not None]
    outside = _outside(network, layers)
    key = tuple((id(module), type(module), "as_linear" in vars(module)) for module in outside)
    known: list[Layout] = getattr(network, _KNOWN, [])  # of the model with its adapter, and without it
    found = next((layout for layout in known if layout._key == key), None)
    if found is None:
        training = network.training
        network.eval()  # without dropout
        found = _found(network, layers, outside, key)
        network.train(training)
        object.__setattr__(network, _KNOWN, [found, *known[:2]])  # as a child of the module it would be a parameter
    return found


def text_network(network: Any) -> Any:
    """The language model inside a wrapper of one that also sees, or the network itself: the innermost module that makes its
    logits."""
    wanted, found = _called(network), network
    trunk = layout_of(network).trunk
    for module in _chain(network, network.layers)[1:]:
        made = _called(module)
        if made is not None and wanted is not None and made.shape == wanted.shape and module is not trunk:
            found = module
    return found


def logits_of(module: Any, hidden: Any) -> Any:
    """hidden [..., size] -> logits [..., vocabulary], by the very operation of the network: in half precision another one
    would differ by its rounding."""
    if isinstance(module, (*GROWN, *EXACT)):
        return module.logits(hidden)
    if type(module) in PLAIN:
        logits = hidden @ module.weight.T
    else:
        how = {"group_size": module.group_size, "bits": module.bits, "mode": module.mode}
        logits = mx.quantized_matmul(hidden, module.weight, module.scales, module.get("biases"), transpose=True, **how)
    return logits + module.bias if "bias" in module else logits


def _outside(network: Any, layers: Sequence[Any]) -> list[Any]:
    """The modules of a network that are not in its layers."""
    seen, found, waiting = {id(layer) for layer in layers}, [], [network]
    while waiting:
        at = waiting.pop()
        if isinstance(at, (list, tuple)):
            waiting += at
        elif isinstance(at, nn.Module):
            if id(at) in seen:
                continue
            seen.add(id(at))
            found.append(at)
            waiting += dict.values(at)
        elif isinstance(at, dict):
            waiting += at.values()
    return found


def _chain(network: Any, layers: Sequence[Any]) -> list[Any]:
    """The modules around all layers, from the outside in."""
    wanted = {id(layer) for layer in layers if layer is not None}
    chain = [network]
    while True:
        children = [child for child in dict.values(chain[-1]) if isinstance(child, nn.Module)]
        inner = [child for child in children if wanted <= {id(module) for module in child.modules()}]
        if not inner:
            return chain
        chain.append(inner[0])


def _found(network: Any, layers: list[Any], outside: Sequence[Any], key: tuple[object, ...]) -> Layout:
    logits = _called(network)
    if logits is None:
        return Layout(layers, None, None, "it does not run without a cache", _key=key)
    trunks = _chain(network, layers)[1:]
    heads = [module for module in outside if type(module) in (*PLAIN, *QUANTISED, *GROWN, *EXACT)]
    heads = [module for module in heads if module.weight.shape[0] == logits.shape[-1]]
    heads.sort(key=lambda module: hasattr(module, "as_linear"))  # tied embeddings only if there is no other head
    for head in heads:
        candidates = [*trunks, _Headless(network, head), _Headless(network, head, keeps=True)]
        proven = _proven(network, head, candidates)
        if proven is not None:
            trunk, cap = proven
            why = f"its logits are capped at {cap:g}" if cap else "its output head has a bias" if "bias" in head else ""
            return Layout(layers, trunk, None if why else head, why, head, cap, key)
    why = "its logits are not the product of hidden states and one matrix" if heads else "no matrix makes its logits"
    if any("lora_a" in module for module in outside):
        why = "its output head is trained"
    return Layout(layers, None, None, why, _key=key)


def _proven(network: Any, head: Any, candidates: Sequence[Any]) -> tuple[Any, float | None] | None:
    """The first of the candidates whose output the head turns into the network's logits, and the soft cap that follows."""
    found: list[tuple[Any, Any]] = []
    for trunk in candidates:
        hidden = _called(trunk)
        try:
            raw = None if hidden is None else logits_of(head, hidden).astype(mx.float32)
            if raw is None:
                continue
            peak = largest(raw)
        except UNFIT:
            continue
        found.append((trunk, raw))
        loud = _LOUD / peak if 0 < peak < _LOUD else 1.0
        logits = _loud(network, head, loud)
        # a model that reads the weight of its head, instead of calling it, is not loud
        if _equal(network, raw * loud, logits) or _equal(network, raw, logits):
            return trunk, None
    for trunk, raw in found:
        peak = largest(raw)
        cap = largest(_loud(network, head, _DEAFENING / peak)) if peak > 0 else math.inf
        if 0 < cap < _DEAFENING / 10:
            loud = 2 * cap / peak
            if _equal(network, cap * mx.tanh(raw * (loud / cap)), _loud(network, head, loud)):
                return trunk, cap
    return None


def _called(module: Any) -> Any | None:
    """What a module makes of the probe, [1, length, ...]; None if it is not called with tokens and a cache."""
    try:
        made = module(mx.array(_PROBE), cache=None)
    except UNFIT:
        return None
    return made if isinstance(made, mx.array) and made.ndim == 3 and made.shape[1] == len(_PROBE[0]) else None


def _loud(network: Any, head: Any, factor: float) -> Any:
    """The network's logits of the probe if its head gave ``factor`` times as much."""
    with _instead(head, lambda plain: lambda x: plain(x) * factor):
        return network(mx.array(_PROBE)).astype(mx.float32)


def _equal(network: Any, ours: Any, wanted: Any) -> bool:
    """To rounding, as seen from the largest logit: half precision rounds after each operation."""
    tolerance = 1e-2 if in_half(network) else 2e-5
    peak = mx.abs(wanted).max()
    return bool((mx.abs(ours - wanted).max() <= tolerance * peak).item())


@contextmanager
def _instead(head: Any, change: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]) -> Iterator[None]:
    """Let a head compute something else for a while."""
    if hasattr(head, "as_linear"):  # an embedding, whose own call serves the tokens
        own = vars(head).get("as_linear")
        object.__setattr__(head, "as_linear", change(head.as_linear))
        try:
            yield
        finally:
            if own is None:
                object.__delattr__(head, "as_linear")
            else:
                object.__setattr__(head, "as_linear", own)
        return
    kind: Any = type(head)
    changed = change(lambda x: kind.__call__(head, x))
    head.__class__ = type(kind.__name__, (kind,), {"__call__": lambda self, x: changed(x)})
    try:
        yield
    finally:
        head.__class__ = kind


class _Headless:
    """A network without its head: the trunk of a model that has none of its own, or one that is called in another way.

    What the model does with the logits, it does here with the hidden states: a scale remains right. With ``keeps``, they are
    those that the head was given, before anything else.
    """

    def __init__(self, network: Any, head: Any, *, keeps: bool = False):
        self._network, self._head, self._keeps = weakref.ref(network), head, keeps  # the network holds its layout

    def __call__(self, inputs: Any, cache: Any = None) -> Any:
        network: Any = self._network()
        given: list[Any] = []

        def hand_on(x: Any) -> Any:
            given.append(x)
            return x

        with _instead(self._head, lambda plain: hand_on):
            result = network(inputs, cache=cache)
        return given[-1] if self._keeps else result
