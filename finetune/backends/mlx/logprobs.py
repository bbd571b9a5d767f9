"""Log-probabilities of the learned tokens alone: the output head never sees the other positions.

A fifth of a text-to-SQL row is learned; with Gemma's vocabulary of 262,144 the head is most of the work, and logits for
every position are most of the memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from finetune.backends.mlx import shared_prompts
from finetune.backends.mlx.cpu_math import exp
from finetune.backends.mlx.embeddings import GROWN
from finetune.backends.mlx.exact_embeddings import EXACT, exact_logits
from finetune.backends.mlx.head import Head, at_most_0, products
from finetune.backends.mlx.layout import PLAIN, layout_of, logits_of
from finetune.backends.mlx.runtime import ON_CPU, mx, streams, with_gradient
from finetune.backends.mlx.shared_prompts import SharedBatch
from finetune.models.loss_mask import Example

_CHUNK_TOKENS = 256
# logits in memory at once: many small operations cost more than what the cache saves
_CHUNK_LOGITS = 2**21 if ON_CPU else 2**24
_CHUNK_NUMBERS = 2**62 if ON_CPU else 2**24  # of the matrix in float32 at once; on the CPU it is float32 already


@dataclass(frozen=True)
class Batch:
    inputs: Any  # [rows, length] token ids, padded on the right
    positions: Any  # [learned] index of each learned token's predecessor in the flattened inputs
    labels: Any  # [learned] the learned tokens

    @property
    def learned(self) -> int:
        return int(self.labels.size)

    @property
    def size(self) -> int:
        """Tokens that are computed."""
        return int(self.inputs.size)


Part = Batch | SharedBatch


def collate(examples: Sequence[Example], *, share_prompts: bool = False) -> list[Part]:
    """The examples in as many parts as the machine works on side by side, in their order; with ``share_prompts``, a prompt of
    several neighbours is computed once in each part if that is less work."""
    count = len(streams(len(examples)))
    groups = shared_prompts.grouped(examples) if share_prompts else []
    if groups and shared_prompts.worth_it(groups):
        return [shared_prompts.shared(part) for part in _divided(groups, count)]
    share = -(-len(examples) // count)
    return [_padded(examples[at : at + share]) for at in range(0, len(examples), share)]


def _divided(groups: Sequence[list[Example]], count: int) -> list[list[list[Example]]]:
    """``count`` parts of about the same work; a single group is divided itself."""
    if len(groups) < count:
        (group, *others) = groups
        half = len(group) // 2
        groups = [group[:half], group[half:], *others] if half else groups
    total, done = shared_prompts.cost(groups), 0
    parts: list[list[list[Example]]] = [[]]
    for group in groups:
        if parts[-1] and len(parts) < count and done >= total * len(parts) / count:
            parts.append([])
        parts[-1].append(group)
        done += shared_prompts.cost([group])
    return parts


def _padded(examples: Sequence[Example]) -> Batch:
    length = max(len(example.tokens) for example in examples) - 1
    inputs, positions, labels = [], [], []
    for row, example in enumerate(examples):
        # causal attention: what stands right of a token cannot change it, so padding needs no mask
        inputs.append(example.tokens[:-1] + [0] * (length + 1 - len(example.tokens)))
        for at in range(1, len(example.tokens)):
            if example.loss_mask[at]:
                positions.append(row * length + at - 1)
                labels.append(example.tokens[at])
    return Batch(mx.array(inputs), mx.array(positions), mx.array(labels))


def logprob_function(network: Any, temperature: float = 1.0, *, full: bool = False) -> Callable[[Any, list[Part]], Any]:
    """A function (network, parts of a batch) -> log-probabilities [learned] of all parts, float32, of the
    distribution at ``temperature``.

    It runs trunk and head apart if the layout of the network knows both; any other model gets its own full logits, and so does
    each with ``full``.
    """
    trunk: Any = layout_of(network).trunk
    head_logprobs = None if full else _of_head(network, temperature)

    def given(model: Any, batch: Part) -> Any:
        if isinstance(batch, SharedBatch):
            return shared_prompts.run(model, batch, len(network.layers))
        return model(batch.inputs)

    def of_part(network: Any, batch: Part) -> Any:
        if head_logprobs:
            hidden = given(partial(trunk, cache=None), batch)
            return head_logprobs(hidden.reshape(-1, hidden.shape[-1])[batch.positions], batch.labels)
        logits = given(network, batch)
        logits = logits.reshape(-1, logits.shape[-1])[batch.positions].astype(mx.float32)
        return _chosen(logits / temperature, batch.labels)

    def logprobs(network: Any, batches: list[Part]) -> Any:
        parts = []
        for stream, batch in zip(streams(len(batches)), batches, strict=True):
            with mx.stream(stream):  # the gradient runs where its forward operation ran
                parts.append(of_part(network, batch))
        return mx.concatenate(parts)

    return logprobs


def _of_head(network: Any, temperature: float) -> Callable[[Any, Any], Any] | None:
    """A function (hidden [tokens, size], labels [tokens]) -> log-probabilities [tokens] of the labels; None without a head
    that is a matrix."""
    if head := frozen_head(network):
        return _head_logprobs(replace(head, temperature=temperature))
    layout = layout_of(network)
    module = layout.matrix
    if module is None:
        return None
    if isinstance(module, GROWN) and layout.cap is None:
        return _grown_logprobs(layout.trunk, module, temperature)

    def whole(hidden: Any, labels: Any) -> Any:
        exact = isinstance(module, EXACT)
        logits = exact_logits(module, hidden) if exact else logits_of(module, hidden).astype(mx.float32)
        if layout.cap is not None:
            logits = layout.cap * mx.tanh(logits / layout.cap)
        return _chosen(logits / temperature, labels)

    return whole


def _grown_logprobs(trunk: Any, module: Any, temperature: float) -> Callable[[Any, Any], Any]:
    """For a head of which some rows are trained: the frozen ones are walked through, as those of a frozen head."""
    walk = _head_logprobs(Head(trunk, module.before.shape[0], module.before.__getitem__))

    def logprobs(hidden: Any, labels: Any) -> Any:
        hidden, first = hidden / temperature, module.before.shape[0]
        last = module.rows.astype(hidden.dtype)
        if module.after.shape[0]:
            last = mx.concatenate([last, module.after])
        later = products(hidden, last)
        is_later, some = labels >= first, mx.zeros_like(labels)
        # of a label among the frozen rows, or of row 0 if it is none: both its logit and its log-probability are known
        label = mx.where(is_later, some, labels)
        rows = module.before[label].astype(mx.float32)
        frozen = (hidden.astype(mx.float32) * rows).sum(axis=-1)
        total = mx.logaddexp(frozen - walk(hidden, label), mx.logsumexp(later, axis=-1))
        own = mx.take_along_axis(later, mx.where(is_later, labels - first, some)[:, None], axis=-1).squeeze(-1)
        return at_most_0(mx.where(is_later, own, frozen) - total, hidden)

    return logprobs


def plain_head(network: Any) -> Any | None:
    """The float weight [vocabulary, size] that makes logits of what the layout's trunk gives; None if there is none."""
    module = layout_of(network).head
    return module.weight if module is not None and type(module) in PLAIN and frozen_head(network) else None


def why_full(network: Any) -> str | None:
    """Why the loss needs the logits of every token, as a clause about the model; None if it does not."""
    layout = layout_of(network)
    return layout.why if layout.matrix is None else None


def frozen_head(network: Any) -> Head | None:
    """The head of a network, if it is a matrix that is not trained, with a bias or a soft cap or nothing after it."""
    layout, module = layout_of(network), layout_of(network).matrix
    if module is None or module.trainable_parameters().keys() & {"weight", "bias", "rows"}:
        return None
    rows = module.weight.__getitem__ if type(module) in PLAIN else partial(_dequantised, module)
    bias = module.bias if "bias" in module else None
    return Head(layout.trunk, module.weight.shape[0], rows, bias, layout.cap)


def _dequantised(module: Any, index: Any) -> Any:
    biases = module.get("biases")
    return mx.dequantize(
        module.weight[index],
        module.scales[index],
        None if biases is None else biases[index],
        group_size=module.group_size,
        bits=module.bits,
        mode=module.mode,
    )


def _chosen(logits: Any, labels: Any) -> Any:
    """Log-probability [tokens] of each label under its row of logits [tokens, vocabulary]."""
    peak = mx.stop_gradient(logits.max(axis=-1, keepdims=True))
    totals = (peak + mx.log(_sum(mx.exp(logits - peak)))).squeeze(-1)
    return mx.take_along_axis(logits, labels[:, None], axis=-1).squeeze(-1) - totals


def _sum(rows: Any) -> Any:
    """Of each row [rows, n] -> [rows, 1], as a matrix product: on the CPU MLX's own sum adds one value after the other, and of
    the small ones of a vocabulary a part is lost (5e-4 of the sum over 49,152)."""
    return rows @ mx.ones((rows.shape[-1], 1), rows.dtype)


def _backward(primals: Any, cotangents: Any, outputs: Any) -> tuple[Any, Any]:
    hidden, labels = primals
    return (cotangents[0][:, None] * outputs[1]).astype(hidden.dtype), mx.zeros_like(labels)


def _head_logprobs(head: Head) -> Callable[[Any, Any], Any]:
    """A function (hidden [tokens, size], labels [tokens]) -> log-probabilities [tokens] of the labels.

    No array of [tokens, vocabulary] is ever made: the vocabulary is walked through in pieces, with a running maximum (arXiv
    2411.09009, section 4), and the gradient is summed in the same walk from the same exponentials, as Liger Kernel does
    (arXiv 2410.10989, section 3.2). Because the loss may weigh tokens as it likes, what is kept is the gradient of each
    token's own log-probability.
    """

    @with_gradient(_backward)
    def walk(hidden: Any, labels: Any) -> tuple[Any, Any]:
        """Log-probabilities [tokens] and their gradients with respect to ``hidden`` [tokens, size]."""
        logprobs: list[Any] = []
        gradients: list[Any] = []
        for at in range(0, labels.size, _CHUNK_TOKENS):
            chunk = hidden[at : at + _CHUNK_TOKENS]
            chunk = mx.depends(chunk, gradients[-1]) if gradients else chunk
            found, gradient = _walk(head, chunk, labels[at : at + _CHUNK_TOKENS])
            logprobs.append(found)
            gradients.append(gradient)
        return mx.concatenate(logprobs), mx.concatenate(gradients)

    if head.is_bent or head.temperature == 1:
        return lambda hidden, labels: walk(hidden, labels)[0]
    return lambda hidden, labels: walk(hidden / head.temperature, labels)[0]


def _walk(head: Head, hidden: Any, labels: Any) -> tuple[Any, Any]:
    step = max(1, min(_CHUNK_LOGITS // labels.size, _CHUNK_NUMBERS // hidden.shape[-1]))
    peak = mx.full((labels.size, 1), -mx.inf)
    total = mx.zeros((labels.size, 1))
    mean = mx.zeros(hidden.shape)  # of the matrix's rows under the softmax, times total
    for at in range(0, head.vocabulary, step):
        # one piece after the other, or the logits of all would be in memory together
        index, now = slice(at, at + step), mx.depends(hidden, mean)
        piece = head.rows(index)
        logits, slopes = head.logits(now, piece, index)
        higher = mx.maximum(peak, logits.max(axis=-1, keepdims=True))
        exponentials, shrink = exp(logits - higher), mx.exp(peak - higher)
        total = total * shrink + _sum(exponentials)
        weights = exponentials if slopes is None else exponentials * slopes
        mean = mean * shrink + (weights.astype(piece.dtype) @ piece).astype(mx.float32)
        peak = higher
    wanted, gradient = head.of_labels(hidden, labels)
    found = wanted - (peak + mx.log(total)).squeeze(-1)
    return at_most_0(found, hidden, piece), gradient - mean / total
