"""Log-probabilities of the learned tokens alone: the output head never sees the other positions.

Of a text-to-SQL row a fifth is learned; with Gemma's vocabulary of 262,144 the head is most of the work, and logits for
every position are most of the memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.backends.mlx.cpu_math import exp
from finetune.backends.mlx.runtime import lanes, mx
from finetune.encoding import Example

_CHUNK = 64  # tokens whose logits are in memory at once


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

    It runs trunk and head apart where ``head(trunk(x)) == network(x)``; a model with another way from hidden states to
    logits (soft-capped, say) gets its own full logits.
    """
    probe = mx.array([[1, 2, 3]])
    apart = hasattr(network, "model") and (hasattr(network, "lm_head") or hasattr(network.model, "embed_tokens"))
    if apart:
        apart = bool(mx.allclose(_head(network, network.model(probe)), network(probe), rtol=1e-4, atol=1e-4))
    head_logprobs = _chunked_logprobs(lambda hidden: _head(network, hidden))

    def of_part(network: Any, batch: Batch) -> Any:
        if apart:
            hidden = network.model(batch.inputs)
            return head_logprobs(hidden.reshape(-1, hidden.shape[-1])[batch.positions], batch.labels)[0]
        logits = network(batch.inputs)
        return _chosen(logits.reshape(-1, logits.shape[-1])[batch.positions].astype(mx.float32), batch.labels)

    def logprobs(network: Any, batches: list[Batch]) -> Any:
        parts = []
        for lane, batch in zip(lanes(len(batches)), batches, strict=True):
            with mx.stream(lane):  # the gradient runs where its forward operation ran
                parts.append(of_part(network, batch))
        return mx.concatenate(parts)

    return logprobs


def _chosen(logits: Any, labels: Any) -> Any:
    """Log-probability [tokens] of each label under its row of logits [tokens, vocabulary]."""
    return mx.take_along_axis(logits, labels[:, None], axis=-1).squeeze(-1) - mx.logsumexp(logits, axis=-1)


def _chunked_logprobs(head: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """(hidden [tokens, size], labels [tokens]) -> log-probabilities [tokens], through a head that is not trained.

    The gradient with respect to ``hidden`` is computed on the way forward, from the same exponentials, chunk by chunk, as
    Liger Kernel does (arXiv 2410.10989, section 3.2): no array of [tokens, vocabulary] is ever kept. Because the loss may
    weigh tokens as it likes, what is kept is the gradient of each token's own log-probability.
    """

    def forward(hidden: Any, labels: Any) -> tuple[Any, Any]:
        logprobs, gradients = [], []
        for at in range(0, labels.size, _CHUNK):
            part, wanted = hidden[at : at + _CHUNK], labels[at : at + _CHUNK, None]
            logits = head(part).astype(mx.float32)
            logits = logits - logits.max(axis=-1, keepdims=True)
            exponentials = exp(logits)
            total = exponentials.sum(axis=-1, keepdims=True)
            logprobs.append((mx.take_along_axis(logits, wanted, axis=-1) - mx.log(total)).squeeze(-1))
            slope = exponentials / -total  # d logprob / d logits = one-hot(label) - softmax
            slope = mx.put_along_axis(slope, wanted, 1.0 + mx.take_along_axis(slope, wanted, axis=-1), axis=-1)
            gradients.append(mx.vjp(head, [part], [slope.astype(part.dtype)])[1][0])
        return mx.concatenate(logprobs), mx.concatenate(gradients)

    function = mx.custom_function(forward)

    @function.vjp
    def backward(primals: Any, cotangents: Any, outputs: Any) -> tuple[Any, Any]:
        hidden, labels = primals
        return (cotangents[0][:, None] * outputs[1]).astype(hidden.dtype), mx.zeros_like(labels)

    return function


def _head(network: Any, hidden: Any) -> Any:
    return network.lm_head(hidden) if hasattr(network, "lm_head") else network.model.embed_tokens.as_linear(hidden)
