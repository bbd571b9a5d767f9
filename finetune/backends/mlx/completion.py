"""Log-probabilities of the learned tokens alone: the output head never sees the other positions.

Of a text-to-SQL row a fifth is learned; with Gemma's vocabulary of 262,144 the head is most of the work, and logits for
every position are most of the memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.backends.mlx.runtime import mx
from finetune.encoding import Example


@dataclass(frozen=True)
class Batch:
    inputs: Any  # [rows, length] token ids, padded on the right
    positions: Any  # [learned] index of each learned token's predecessor in the flattened inputs
    labels: Any  # [learned] the learned tokens

    @property
    def learned(self) -> int:
        return int(self.labels.size)


def collate(examples: Sequence[Example]) -> Batch:
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


def logprob_function(network: Any) -> Callable[[Any, Batch], Any]:
    """A function (network, batch) -> log-probabilities [learned], float32.

    It runs trunk and head apart where ``head(trunk(x)) == network(x)``; a model with another way from hidden states to
    logits (soft-capped, say) gets its own full logits.
    """
    probe = mx.array([[1, 2, 3]])
    apart = hasattr(network, "model") and (
        hasattr(network, "lm_head") or hasattr(network.model, "embed_tokens")
    )
    if apart:
        apart = mx.allclose(_head(network, network.model(probe)), network(probe), rtol=1e-4, atol=1e-4).item()

    def logprobs(network: Any, batch: Batch) -> Any:
        if apart:
            hidden = network.model(batch.inputs)
            logits = _head(network, hidden.reshape(-1, hidden.shape[-1])[batch.positions])
        else:
            logits = network(batch.inputs)
            logits = logits.reshape(-1, logits.shape[-1])[batch.positions]
        logits = logits.astype(mx.float32)
        chosen = mx.take_along_axis(logits, batch.labels[:, None], axis=-1).squeeze(-1)
        return chosen - mx.logsumexp(logits, axis=-1)

    return logprobs


def _head(network: Any, hidden: Any) -> Any:
    return (
        network.lm_head(hidden)
        if hasattr(network, "lm_head")
        else network.model.embed_tokens.as_linear(hidden)
    )
