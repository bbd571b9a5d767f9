"""Log-probabilities of the learned tokens alone: the output head never sees the other positions.

Of a text-to-SQL row a fifth is learned; with Gemma's vocabulary of 262,144 the head is most of the work, and logits for
every position are most of the memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.backends.mlx.cpu_math import exp
from finetune.backends.mlx.runtime import ON_CPU, lanes, mx, with_gradient
from finetune.encoding import Example

import mlx.nn as nn  # isort: skip  after the runtime

_CHUNK_TOKENS = 256
# logits in memory at once: many small operations cost more than what the cache saves
_CHUNK_LOGITS = 2**21 if ON_CPU else 2**24


@dataclass(frozen=True)
class Batch:
    inputs: Any  # [rows, length] token ids, padded on the right
    positions: Any  # [learned] index of each learned token's predecessor in the flattened inputs
    labels: Any  # [learned] the learned tokens

    @property
    def learned(self) -> int:
        return int(self.labels.size)


def collate(examples: Sequence[Example]) -> list[Batch]:
    """The rows in as many parts as the machine works on side by side, in their order."""
    count = len(lanes(len(examples)))
    share = -(-len(examples) // count)
    return [_padded(examples[at : at + share]) for at in range(0, len(examples), share)]


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


def logprob_function(network: Any) -> Callable[[Any, list[Batch]], Any]:
    """A function (network, parts of a batch) -> log-probabilities [learned] of all parts, float32.

    It runs trunk and head apart where the head is a plain frozen matrix and ``head(trunk(x)) == network(x)``; any other
    model (soft-capped or quantised logits, say) gets its own full logits.
    """
    head = plain_head(network)

    def of_part(network: Any, batch: Batch) -> Any:
        if head is not None:
            hidden = network.model(batch.inputs)
            return head_logprobs(hidden.reshape(-1, hidden.shape[-1])[batch.positions], head, batch.labels)
        logits = network(batch.inputs)
        return _chosen(logits.reshape(-1, logits.shape[-1])[batch.positions].astype(mx.float32), batch.labels)

    def logprobs(network: Any, batches: list[Batch]) -> Any:
        parts = []
        for lane, batch in zip(lanes(len(batches)), batches, strict=True):
            with mx.stream(lane):  # the gradient runs where its forward operation ran
                parts.append(of_part(network, batch))
        return mx.concatenate(parts)

    return logprobs


def plain_head(network: Any) -> Any | None:
    """The weight [vocabulary, size] of an output head whose logits are ``hidden @ weight.T``; None for any other.

    It must be a float matrix that is not trained.
    """
    trunk: Any = getattr(network, "model", None)
    head: Any = getattr(network, "lm_head", None) or getattr(trunk, "embed_tokens", None)
    if type(head) not in (nn.Linear, nn.Embedding) or "bias" in head or "weight" in head.trainable_parameters():
        return None
    probe = mx.array([[1, 2, 3]])
    equal = mx.allclose(trunk(probe) @ head.weight.T, network(probe), rtol=1e-4, atol=1e-4)
    return head.weight if equal.item() else None


def _chosen(logits: Any, labels: Any) -> Any:
    """Log-probability [tokens] of each label under its row of logits [tokens, vocabulary]."""
    return mx.take_along_axis(logits, labels[:, None], axis=-1).squeeze(-1) - mx.logsumexp(logits, axis=-1)


def head_logprobs(hidden: Any, weight: Any, labels: Any) -> Any:
    """Log-probabilities [tokens] of ``labels`` [tokens] under logits ``hidden @ weight.T``, with a gradient for ``hidden``.

    hidden [tokens, size]; weight [vocabulary, size], not trained. No array of [tokens, vocabulary] is ever made: the
    vocabulary is walked through in pieces, with a running maximum (arXiv 2411.09009, section 4), and the gradient is
    summed in the same walk from the same exponentials, as Liger Kernel does (arXiv 2410.10989, section 3.2). Because the
    loss may weigh tokens as it likes, what is kept is the gradient of each token's own log-probability.
    """
    parts = [
        _walk(hidden[at : at + _CHUNK_TOKENS], weight, labels[at : at + _CHUNK_TOKENS])[0]
        for at in range(0, labels.size, _CHUNK_TOKENS)
    ]
    return mx.concatenate(parts)


def _walk_backward(primals: Any, cotangents: Any, outputs: Any) -> tuple[Any, Any, Any]:
    hidden, weight, labels = primals
    return (cotangents[0][:, None] * outputs[1]).astype(hidden.dtype), mx.zeros_like(weight), mx.zeros_like(labels)


@with_gradient(_walk_backward)
def _walk(hidden: Any, weight: Any, labels: Any) -> tuple[Any, Any]:
    """Log-probabilities [tokens] and their gradients with respect to ``hidden`` [tokens, size]."""
    step = max(1, _CHUNK_LOGITS // labels.size)
    peak = mx.full((labels.size, 1), -mx.inf)
    total = mx.zeros((labels.size, 1))
    mean = mx.zeros(hidden.shape)  # of the weight's rows under the softmax, times total
    for at in range(0, weight.shape[0], step):
        piece = weight[at : at + step]
        logits = (hidden @ piece.T).astype(mx.float32)
        higher = mx.maximum(peak, logits.max(axis=-1, keepdims=True))
        exponentials, shrink = exp(logits - higher), mx.exp(peak - higher)
        total = total * shrink + exponentials.sum(axis=-1, keepdims=True)
        mean = mean * shrink + (exponentials.astype(piece.dtype) @ piece).astype(mx.float32)
        peak = higher
    wanted = weight[labels].astype(mx.float32)
    logprobs = (hidden.astype(mx.float32) * wanted).sum(axis=-1) - (peak + mx.log(total)).squeeze(-1)
    return logprobs, wanted - mean / total
