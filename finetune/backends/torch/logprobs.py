"""Log-probabilities of the learned tokens alone: the output head never sees the other positions.

TRL's own head skips the others on GPUs with Triton only; on a CPU and on MPS it computes logits for every position.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.backends.torch.runtime import Tensors, torch
from finetune.models.loss_mask import Example

_IGNORED = -100  # the label of a token that is not learned, as Transformers has it
_CHUNK_LOGITS = 2**25  # in memory at once: fewer would read the head's matrix more often


def collate(examples: Sequence[Example]) -> Tensors:
    """Token ids and labels [rows, length], padded on the right.

    No attention mask: under causal attention what stands right of a token cannot change it.
    """
    length = max((len(example.tokens) for example in examples), default=2)
    inputs = torch.zeros((max(1, len(examples)), length), dtype=torch.long)
    labels = torch.full_like(inputs, _IGNORED)
    for row, example in enumerate(examples):
        tokens = torch.tensor(example.tokens)
        inputs[row, : len(tokens)] = tokens
        labels[row, : len(tokens)] = tokens.where(torch.tensor(example.loss_mask), _IGNORED)
    return {"input_ids": inputs, "labels": labels}


def learned_logprobs(network: Any, batch: Mapping[str, Any], temperature: float = 1.0) -> Any:
    """Log-probabilities [learned], float32, of the learned tokens of a batch, row after row, as softmax(logits / temperature).

    ``network``: a causal language model of Transformers whose output head is as ``has_plain_head`` says; any other gets its
    own full logits.
    """
    inputs, labels = batch["input_ids"][:, :-1], batch["labels"][:, 1:]
    learned = labels != _IGNORED
    if has_plain_head(network):
        hidden = _trunk(network)(input_ids=inputs, use_cache=False).last_hidden_state
        head = network.get_output_embeddings()
        return _HeadLogprobs.apply(hidden[learned], head.weight, labels[learned], temperature)
    logits = network(input_ids=inputs, use_cache=False).logits[learned].float() / temperature
    return logits.log_softmax(-1).gather(-1, labels[learned][:, None]).squeeze(-1)


def has_plain_head(network: Any) -> bool:
    """Whether the head is a frozen matrix and nothing comes after it: ``head(trunk(x)) == network(x)``. Found out once."""
    if (known := getattr(network, "_finetune_plain_head", None)) is not None:
        return bool(known)
    head = network.get_output_embeddings()
    plain = isinstance(head, torch.nn.Linear) and head.bias is None and not head.weight.requires_grad
    plain = plain and _trunk(network) is not network
    if plain:
        probe = torch.tensor([[1, 2, 3]], device=head.weight.device)
        was_training = network.training
        network.eval()
        with torch.no_grad():
            logits = head(_trunk(network)(input_ids=probe, use_cache=False).last_hidden_state)
            plain = torch.allclose(logits, network(input_ids=probe, use_cache=False).logits, rtol=1e-4, atol=1e-4)
        network.train(was_training)
    network._finetune_plain_head = plain
    return plain


def _trunk(network: Any) -> Any:
    """What computes the hidden states; ``base_model`` is the whole network where it is not called as its type says."""
    return network.base_model if network.base_model is not network else network.get_decoder()


class _HeadLogprobs(torch.autograd.Function):
    """Log-probabilities [tokens] of the labels under ``hidden [tokens, size] @ weight.T / temperature``, a chunk at a time.

    The gradient is computed in the forward pass, from the same exponentials (Liger Kernel, arXiv 2410.10989, section 3.2), so
    that no logits are kept for the backward pass.
    """

    @staticmethod
    def forward(context: Any, hidden: Any, weight: Any, labels: Any, temperature: float) -> Any:
        logprobs = torch.empty(len(labels), dtype=torch.float32, device=hidden.device)
        gradients = torch.empty_like(hidden) if context.needs_input_grad[0] else None
        step = max(1, _CHUNK_LOGITS // weight.shape[0])
        for at in range(0, len(labels), step):
            wanted = labels[at : at + step]
            logits = (hidden[at : at + step].to(weight.dtype) @ weight.T).float() / temperature
            totals = logits.logsumexp(-1, keepdim=True)
            logprobs[at : at + step] = (logits.gather(-1, wanted[:, None]) - totals).squeeze(-1)
            if gradients is not None:
                probabilities = logits.sub_(totals).exp_().to(weight.dtype)
                gradients[at : at + step] = (weight[wanted] - probabilities @ weight) / temperature
        context.save_for_backward(gradients)
        return logprobs

    @staticmethod
    def backward(context: Any, *arrived: Any) -> tuple[Any, None, None, None]:
        (gradients,) = context.saved_tensors
        return (arrived[0][:, None] * gradients).to(gradients.dtype), None, None, None
