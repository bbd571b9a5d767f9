"""The fast paths of a training run: each is switched on, proves itself on the model, and is left off if it cannot."""

from collections.abc import Sequence
from typing import Any

from finetune.backends.mlx import cpu_math, long_attention, proofs, shared_prompts
from finetune.backends.mlx.batch_proof import refuse_otherwise
from finetune.backends.mlx.gradient_checkpointing import checkpoint_gradients, keep_activations
from finetune.backends.mlx.logprobs import Part, collate, logprob_function, why_full
from finetune.backends.mlx.lora_gradients import make_plain, make_timely
from finetune.backends.mlx.proofs import FastPath
from finetune.backends.mlx.runtime import ON_CPU, mx
from finetune.models.loss_mask import Example

# one that attention computes in one piece in a proof, and one in blocks
PROBE = [Example([1, 2, 3], [False, True, True]), Example([4, 5, 6, 7, 8, 9, 1], [False, False, *[True] * 5])]


class FastPaths:
    """How the log-probabilities of a network's run are computed. ``notes``: what is not used and why, a sentence each."""

    def __init__(
        self, network: Any, temperature: float, *, checkpoints: bool, shares_prompts: bool, proves: bool = True
    ):
        """``checkpoints``: with recomputed activations, if that is proven. ``shares_prompts``: with the prompt of several
        completions computed once, if that is proven and nothing is recomputed: a recomputed block has no gradients for what
        another forward pass gave it. UserError if the network answers otherwise than it is trained. Without ``proves``
        all paths are on, for a measurement."""
        network.eval()  # without dropout
        if proves:
            refuse_otherwise(network)
        self._head_alone = logprob_function(network, temperature)
        self._full = logprob_function(network, temperature, full=True)
        self._chosen = self._head_alone
        self.notes: list[str] = []
        self._full_needed = why_full(network) is not None
        if why := why_full(network):
            self.notes.append(f"the logits of all tokens are computed, because {why}; that takes more memory")
        network.train()
        with long_attention.short_pieces():
            paths = self._paths(network, checkpoints=checkpoints)
            if proves:
                self.notes += proofs.keep_proven(network, self.logprobs, collate(PROBE), paths)
            else:
                for path in paths:
                    path.on()
        network.eval()
        self.shares_prompts = False
        if shares_prompts and not checkpoints:
            why = shared_prompts.why_not(network) or self._differs_with_shared_prompts(network)
            self.shares_prompts = why is None
            if why:
                self.notes.append(
                    f"the prompt of several completions is computed for each, because {why}; that takes longer"
                )

    @property
    def full_logits(self) -> bool:
        """Whether the logits of all tokens are computed."""
        return self._chosen is self._full or self._full_needed

    def logprobs(self, network: Any, parts: list[Part]) -> Any:
        """Log-probabilities [learned] of the parts of a batch."""
        return self._chosen(network, parts)

    def _paths(self, network: Any, *, checkpoints: bool) -> list[FastPath]:
        paths = []
        if why_full(network) is None:
            paths.append(
                FastPath(
                    "the logits of the learned tokens alone are",
                    lambda: setattr(self, "_chosen", self._head_alone),
                    lambda: setattr(self, "_chosen", self._full),
                    "computing those of all tokens takes more memory",
                )
            )
        if cpu_math.replaced():
            without = "MLX's own take longer"
            paths.append(FastPath("FineTune's functions for the CPU are", cpu_math.put_back, cpu_math.remove, without))
        if not ON_CPU:
            without = "they take memory with the square of their length"
            paths.append(
                FastPath(
                    "blocks of attention for long rows are", long_attention.install, long_attention.remove, without
                )
            )
        if checkpoints:
            paths += [
                FastPath(
                    "early gradients of LoRA are",
                    lambda: make_timely(network),
                    lambda: make_plain(network),
                    "--grad-checkpoint saves less memory",
                ),
                FastPath(
                    "--grad-checkpoint is",
                    lambda: checkpoint_gradients(network),
                    lambda: keep_activations(network),
                    "training takes as much memory as without it",
                ),
            ]
        return paths

    def _one_by_one(self, network: Any, batches: Sequence[list[Part]]) -> Any:
        return mx.concatenate([self._chosen(network, parts) for parts in batches])

    def _differs_with_shared_prompts(self, network: Any) -> str | None:
        """How the gradients differ; why_not has compared the values."""
        with proofs.adapted(network):
            alone = [[*collate([row])] for row in shared_prompts.PROBE]
            plain = proofs.computed(network, self._one_by_one, alone)
            together = [[shared_prompts.shared(shared_prompts.grouped(shared_prompts.PROBE))]]
            return proofs.difference(plain, lambda: proofs.computed(network, self._one_by_one, together))
