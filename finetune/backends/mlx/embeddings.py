"""Trained embeddings: the matrix that tokens are looked up in, and the output head where it is another one.

Either all of a matrix is trained, or only the rows of new tokens. These are arrays of their own beside the frozen matrix, so
that neither their gradient nor what the optimizer holds is larger than they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from finetune.backends.mlx.exact_embeddings import EXACT, kept_exact
from finetune.backends.mlx.runtime import Arrays, mx
from finetune.errors import UserError
from finetune.models.new_tokens import NewTokens
from finetune.settings.config import TrainingConfig

import mlx.nn as nn  # isort: skip  after the runtime
from mlx.utils import tree_unflatten  # isort: skip

KEY = "embeddings"  # of adapter_config.json
_PROBE = [7, 3, 5]
_MOST_ROWS = 1 << 24


@dataclass(frozen=True)
class Trained:
    """What is trained of the embeddings, as adapter_config.json has it.

    ``modules`` are the names of the matrices. The rows from ``first`` on are those of ``count`` new tokens, 0 if there are
    none; each matrix has ``vocabulary`` rows with them. ``whole``: all rows are trained.
    """

    modules: tuple[str, ...]
    vocabulary: int
    first: int
    count: int
    whole: bool

    @classmethod
    def read(cls, value: Any) -> "Trained":
        """ValueError for what no run writes."""
        try:
            found = cls(**{**value, "modules": tuple(value["modules"])})
            numbers = (found.vocabulary, found.first, found.count)
            right = all(type(number) is int and 0 <= number < _MOST_ROWS for number in numbers)
            right = right and all(isinstance(name, str) for name in found.modules) and 1 <= len(found.modules) <= 2
            right = right and type(found.whole) is bool and found.first + found.count <= found.vocabulary
        except (TypeError, KeyError):
            right = False
        if not right or not (found.whole or found.count):
            raise ValueError(f"{KEY} is not what train.py writes")
        return found

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "modules": list(self.modules)}

    @property
    def arrays(self) -> set[str]:
        """The names of the arrays that are trained."""
        return {f"{name}.{'weight' if self.whole else 'rows'}" for name in self.modules}


def trained(network: Any, config: TrainingConfig, new: NewTokens | None) -> Trained | None:
    """What the settings train of the embeddings; None for nothing. Computes nothing.

    UserError, in the words of flags, if the model's embeddings cannot be trained or cannot grow.
    """
    if not config.train_embeddings and new is None:
        return None
    flags = "--train-embeddings" if config.train_embeddings else "--add-tokens"
    names = _matrices(network, flags)
    modules = dict(network.named_modules())
    for name in names:
        if "scales" in modules[name]:
            raise UserError(
                f"{flags}: {name} is quantised, and quantised embeddings cannot be trained (use a model whose embeddings are"
                f" not quantised, such as the original one, or omit {flags})"
            )
        if new is not None and "bias" in modules[name]:
            raise UserError(f"--add-tokens: {name} has a bias, which cannot grow (omit --add-tokens)")
    rows = modules[names[0]].weight.shape[0]
    ids = new.ids if new else range(rows, rows)
    return Trained(tuple(names), max(rows, ids.stop), ids.start, len(ids), config.train_embeddings)


def attach(network: Any, wanted: Trained) -> None:
    """Make what is trained of the embeddings trainable; a new row is the mean of the others. ValueError if the network has no
    such matrices."""
    modules = dict(network.named_modules())
    changed = {}
    if list(wanted.modules) != (names := _matrices(network, KEY)):
        raise ValueError(f"the model has the embeddings {', '.join(names)}, not {', '.join(wanted.modules)}")
    for name in wanted.modules:
        module = modules[name]
        if type(module) not in _GROWN or module.weight.shape[0] > wanted.vocabulary:
            raise ValueError(f"{name} has more rows than {wanted.vocabulary}, or is quantised")
        weight = module.weight
        if (more := wanted.vocabulary - weight.shape[0]) > 0:
            mean = weight.astype(mx.float32).mean(axis=0, keepdims=True).astype(weight.dtype)
            weight = mx.concatenate([weight, mx.broadcast_to(mean, (more, weight.shape[1]))])
        if wanted.whole:
            changed[name] = kept_exact(plain(module, weight))
            changed[name].unfreeze()
        else:
            changed[name] = _GROWN[type(module)](weight, wanted.first, wanted.count)
    network.update_modules(tree_unflatten(list(changed.items())))


def initialise(network: Any, wanted: Trained, new: NewTokens | None) -> None:
    """Let the row of each new token begin as the mean of the rows of what its text was before."""
    if new is None:
        return
    modules = dict(network.named_modules())
    for name in wanted.modules:
        module = modules[name]
        weight = module.weight if wanted.whole else module.before
        rows = mx.stack([_mean(weight, [at for at in pieces if at < wanted.first]) for pieces in new.pieces])
        if not wanted.whole:
            module.rows = rows
            continue
        last = wanted.first + wanted.count
        module.weight = mx.concatenate([weight[: wanted.first], rows.astype(weight.dtype), weight[last:]])


def _mean(weight: Any, rows: Sequence[int]) -> Any:
    chosen = weight[mx.array(list(rows))] if rows else weight
    return chosen.astype(mx.float32).mean(axis=0)


def modules_of(network: Any, wanted: Trained) -> Arrays:
    """The modules of the matrices, by name."""
    modules = dict(network.named_modules())
    return {name: modules[name] for name in wanted.modules}


def settled(module: Any) -> Any:
    """A module that answers as a trained one does, frozen."""
    weight = module.weight.astype(module.computes_in) if isinstance(module, EXACT) else module.weight
    found = plain(module, weight)
    found.freeze()
    return found


def plain(module: Any, weight: Any) -> Any:
    """A module of mlx-lm with this matrix, that does what ``module`` does."""
    kind = nn.Embedding if isinstance(module, nn.Embedding) else nn.Linear
    found: Any = kind.__new__(kind)
    nn.Module.__init__(found)
    found.weight = weight
    if "bias" in module:
        found.bias = module.bias
    return found


class _Grown(nn.Module):
    """A matrix [vocabulary, size] in three parts, of which the middle one is trained."""

    def __init__(self, weight: Any, first: int, count: int):
        nn.Module.__init__(self)
        self.before, self.after = weight[:first], weight[first + count :]
        self.rows = weight[first : first + count].astype(mx.float32)  # small steps would be lost in lower precision
        self.freeze(keys=["before", "after"])

    @property
    def weight(self) -> Any:
        """The whole matrix, made when it is asked for."""
        return mx.concatenate([self.before, self.rows.astype(self.before.dtype), self.after])

    def logits(self, x: Any) -> Any:
        """x [..., size] -> [..., vocabulary]"""
        rows = self.rows.astype(self.before.dtype)
        return mx.concatenate([x @ part.T for part in (self.before, rows, self.after) if part.shape[0]], axis=-1)


class GrownEmbedding(_Grown, nn.Embedding):
    def __call__(self, x: Any) -> Any:
        first, count = self.before.shape[0], self.rows.shape[0]
        is_new = (x >= first) & (x < first + count)
        old = mx.where(x < first, x, 0)
        found = self.before[old]
        if self.after.shape[0]:
            is_after = x >= first + count
            found = mx.where(is_after[..., None], self.after[mx.where(is_after, x - first - count, 0)], found)
        rows = self.rows.astype(self.before.dtype)
        return mx.where(is_new[..., None], rows[mx.where(is_new, x - first, 0)], found)

    def as_linear(self, x: Any) -> Any:
        return self.logits(x)


class GrownLinear(_Grown, nn.Linear):
    def __call__(self, x: Any) -> Any:
        return self.logits(x)


GROWN = (GrownEmbedding, GrownLinear)
_GROWN: dict[type, Any] = {nn.Embedding: GrownEmbedding, nn.Linear: GrownLinear}


def _matrices(network: Any, flags: str) -> list[str]:
    """The names of the token embeddings and, if it is another matrix, of the output head. Computes nothing but a few ids."""
    names = {id(module): name for name, module in network.named_modules()}
    inner = {id(module) for layer in network.layers if layer is not None for module in layer.modules()}
    outer = [module for module in network.modules() if id(module) not in inner and type(module) in _WATCHED]
    found = _Seen([], set(), set())
    with _watched(outer, found):
        logits = network(mx.array([_PROBE]))
    tables = {id(module): module for module, x in found.looked_up if _is_probe(x)}
    if len(tables) != 1:
        what = "no table" if not tables else "several tables"
        raise UserError(f"{flags}: this type of model has {what} of tokens (omit {flags})")
    ((at, table),) = tables.items()
    heads = [
        module
        for module in outer
        if id(module) in found.called and id(module) != at and module.weight.shape[0] == logits.shape[-1]
    ]
    if heads:
        return [names[at], names[id(heads[-1])]]
    if at not in found.read or table.weight.shape[0] != logits.shape[-1]:
        raise UserError(f"{flags}: no matrix makes the logits of this type of model (omit {flags})")
    return [names[at]]


@dataclass(frozen=True)
class _Seen:
    looked_up: list[tuple[Any, Any]]  # an embedding, and the ids that it was called with
    called: set[int]  # linear modules
    read: set[int]  # embeddings whose matrix was used in another way: as the head


_WATCHED = (nn.Embedding, nn.QuantizedEmbedding, nn.Linear, nn.QuantizedLinear)


def _is_probe(x: Any) -> bool:
    return x.size == len(_PROBE) and x.reshape(-1).tolist() == _PROBE


@contextmanager
def _watched(modules: Sequence[Any], seen: _Seen) -> Iterator[None]:
    """Note what the modules are used for."""
    kinds: Mapping[Any, Any] = {kind: _watching(kind, seen) for kind in _WATCHED}
    before = [type(module) for module in modules]
    for module, kind in zip(modules, before, strict=True):
        module.__class__ = kinds[kind]
    try:
        yield
    finally:
        for module, kind in zip(modules, before, strict=True):
            module.__class__ = kind


def _watching(kind: Any, seen: _Seen) -> type:
    busy: set[int] = set()

    def call(module: Any, x: Any) -> Any:
        busy.add(id(module))
        try:
            if "Embedding" in kind.__name__:
                seen.looked_up.append((module, x))
            else:
                seen.called.add(id(module))
            return kind.__call__(module, x)
        finally:
            busy.discard(id(module))

    def attribute(module: Any, name: str) -> Any:
        if name == "weight" and id(module) not in busy:
            seen.read.add(id(module))
        return kind.__getattr__(module, name)

    def as_linear(module: Any, x: Any) -> Any:
        seen.read.add(id(module))
        return kind.as_linear(module, x)

    content: dict[str, object] = {"__call__": call, "__getattr__": attribute}
    return type(kind.__name__, (kind,), content | ({"as_linear": as_linear} if hasattr(kind, "as_linear") else {}))
