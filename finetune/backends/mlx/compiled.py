"""The steps of a GPU, as compiled graphs: the gradients of a batch, and what the optimizer makes of them.

To build the graph of a step in Python takes about as long as a GPU needs for a small model, and an operation on each number is
a kernel of its own until several are made one. Both are done once for each shape of a batch. So batches are padded to few
shapes, which depend on the batch alone: a resumed run pads as the first did. What is padded has weight 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

from finetune.backends.mlx import proofs
from finetune.backends.mlx.fast_paths import PROBE
from finetune.backends.mlx.gradient_checkpointing import samples
from finetune.backends.mlx.logprobs import Batch, Part, collate
from finetune.backends.mlx.mending import has_long_rope
from finetune.backends.mlx.proofs import Computed
from finetune.backends.mlx.runtime import Arrays, mx
from finetune.backends.mlx.steps import Metrics, PlainSteps, Steps
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig

import mlx.optimizers as optim  # isort: skip  after the runtime
from mlx.utils import tree_flatten, tree_map, tree_unflatten  # isort: skip

_LEAST_LENGTH, _LEAST_LEARNED = 32, 64  # tokens; the shapes are multiples of them
_LENGTHS, _LEARNED = (
    4,
    2,
)  # shapes between a power of two and the next: at most a fifth of a row is padding, a third of the learned
_TOLD = "the step is not compiled, because {why}; a step takes longer"


def rounded_up(count: int, least: int, each: int) -> int:
    """The size to which ``count`` is padded: a multiple of ``least``, with ``each`` sizes up to the next power of two."""
    step = max(least, (1 << (count - 1).bit_length()) // (2 * each))
    return -(-count // step) * step


class CompiledSteps:
    """Of a method whose loss is the sum over the tokens. ``shapes``: of all batches so far, each compiled once."""

    waits = False

    def __init__(
        self, network: Any, config: TrainingConfig, optimizer: Any, logprobs: Callable[[Any, list[Part]], Any]
    ):
        self.network, self.config, self.optimizer = network, config, optimizer
        self._logprobs = logprobs
        self.shapes: set[tuple[int, ...]] = set()
        self._gradients = _gradients(network, logprobs)
        both = [network, vars(optimizer)]  # the state of an optimizer can be replaced by another
        self._update = mx.compile(_update(network, optimizer, config.max_grad_norm), inputs=both, outputs=both)

    def sums(self, examples: Sequence[Example]) -> tuple[Arrays, Metrics]:
        arrays, learned = self.padded(examples)
        loss, _, gradients = self._gradients(*arrays)
        mx.async_eval(loss, gradients)
        counts = {"weight": learned, "tokens": arrays[0].size, "learned": learned}
        return {"loss": loss, **{name: mx.array(float(count)) for name, count in counts.items()}, **gradients}, {}

    def padded(self, examples: Sequence[Example]) -> tuple[tuple[Any, Any, Any, Any], int]:
        """Inputs [rows, length], positions, labels and weights [learned] of a batch, and how many tokens are learned."""
        longest = max(len(example.tokens) for example in examples) - 1
        length = rounded_up(longest, _LEAST_LENGTH, _LENGTHS)
        # no longer than rows may be: a model may have no more positions than that
        length = max(longest, min(length, self.config.max_seq_length))
        inputs, positions, labels = [], [], []
        for row, example in enumerate(examples):
            inputs.append(example.tokens[:-1] + [0] * (length + 1 - len(example.tokens)))
            learned = [at for at in range(1, len(example.tokens)) if example.loss_mask[at]]
            positions += [row * length + at - 1 for at in learned]
            labels += [example.tokens[at] for at in learned]
        count = len(labels)
        rest = [0] * (rounded_up(max(1, count), _LEAST_LEARNED, _LEARNED) - count)
        self.shapes.add((len(inputs), length, count + len(rest)))
        weights = [1.0] * count + [0.0] * len(rest)
        return (mx.array(inputs), mx.array(positions + rest), mx.array(labels + rest), mx.array(weights)), count

    def apply(self, gradients: Arrays, weight: float, losses: Sequence[Any], rate: float) -> Callable[[], bool]:
        self.optimizer.learning_rate = rate
        finite = self._update(gradients, mx.array(weight), list(losses))
        mx.async_eval(finite, self.network.trainable_parameters(), self.optimizer.state)
        return lambda: bool(finite.item())

    def undo(self) -> Callable[[], bool]:
        if self.config.fine_tune_type == "full":  # to keep what is replaced would take as much memory as the model
            return lambda: False
        before, state = self.network.trainable_parameters(), tree_map(lambda array: array, self.optimizer.state)

        def run() -> bool:
            self.network.update(before)
            self.optimizer._state = state
            try:
                mx.eval(before, state)
            except RuntimeError:
                return False
            return True

        return run

    def why_not(self, probe: Sequence[Example]) -> str | None:
        """Why the network may not be computed so, as a sentence; None if the gradients of the ``probe`` are those that it has
        operation by operation."""
        if has_long_rope(self.network):
            return _TOLD.format(why="the RoPE of this model depends on the length of the whole text")
        if self.config.grad_checkpoint and samples(self.network):
            # where random numbers are can be put back between two evaluations alone
            return _TOLD.format(why="--grad-checkpoint has to drop the same numbers twice (--lora-dropout 0 has none)")
        arrays, count = self.padded(probe)
        self.shapes.clear()
        run = _gradients(self.network, self._logprobs)  # for itself: without dropout it is another function

        def compiled() -> Computed:
            weights = mx.pad(mx.cos(mx.arange(count)), (0, arrays[3].size - count))
            _, found, gradients = run(*arrays[:3], -weights)
            return proofs.in_short(self.network, found[:count], gradients)

        self.network.eval()
        with proofs.adapted(self.network):
            wanted = proofs.computed(self.network, self._logprobs, collate(probe))
            sound = (wanted.logprobs, *wanted.norms.values())
            if not all(mx.isfinite(array).all().item() for array in sound):  # the run will say so
                return None
            problem = proofs.difference(wanted, compiled)
        return problem and _TOLD.format(why=f"with this model {problem}")


def steps_of(plain: PlainSteps, *, proves: bool) -> tuple[Steps, list[str]]:
    """The steps of a GPU that compute what the plain ones do: compiled, if the loss is a sum over tokens and that is proven
    where it ``proves`` itself; and a sentence if it is not."""
    if not plain.method.each_token:
        return plain, []
    steps = CompiledSteps(plain.network, plain.config, plain.optimizer, plain.logprobs)
    why = steps.why_not(PROBE) if proves else None
    return (plain, [why]) if why else (steps, [])


def _gradients(network: Any, logprobs: Callable[[Any, list[Part]], Any]) -> Callable[..., Any]:
    """A compiled function of a padded batch: its loss, its log-probabilities [learned] and the gradients by their names.

    What is trained is an input; whatever else the network reads is a constant, also where something has kept it apart.
    """
    state: Any = mx.random.state

    def loss(trained: Any, inputs: Any, positions: Any, labels: Any, weights: Any) -> tuple[Any, Any]:
        network.update(trained)
        found = logprobs(network, [Batch(inputs, positions, labels)])
        return -(found * weights).sum(), found

    loss_and_grad = mx.value_and_grad(loss)

    def compute(trained: Any, *arrays: Any) -> tuple[Any, Any, Arrays]:
        (total, found), gradients = loss_and_grad(trained, *arrays)
        return total, found, dict(tree_flatten(gradients))

    compiled = mx.compile(compute, inputs=[state], outputs=[state])

    def run(*arrays: Any) -> tuple[Any, Any, Arrays]:
        trained = network.trainable_parameters()
        try:
            return compiled(trained, *arrays)
        finally:
            network.update(trained)  # while it is compiled the network has others

    return run


def _update(network: Any, optimizer: Any, most: float) -> Callable[..., Any]:
    """A function of gradients, their weight and the losses that changes weights and optimizer, and gives whether all were
    finite. If not, everything stays as it is: that is decided on the device, so that nobody waits for it."""

    def run(gradients: Arrays, weight: Any, losses: Sequence[Any]) -> Any:
        gradients = {name: array / weight.astype(array.dtype) for name, array in gradients.items()}
        gradients, norm = optim.clip_grad_norm(gradients, most)
        finite = mx.isfinite(norm) & mx.isfinite(sum(losses))

        def chosen(new: Any, old: Any) -> Any:
            return mx.where(finite, new, old)

        before, state = network.trainable_parameters(), tree_map(lambda array: array, optimizer.state)
        optimizer.update(network, tree_unflatten(list(gradients.items())))
        network.update(tree_map(chosen, network.trainable_parameters(), before))
        optimizer._state = tree_map(chosen, optimizer.state, state)  # its setter would begin anew
        return finite

    return run
