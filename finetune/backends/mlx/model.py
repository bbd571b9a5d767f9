"""A model and its adapter in memory: it answers, one conversation at a time or many at once, and scores given answers."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from finetune.backends.interface import Answer, Sample
from finetune.backends.length_batches import length_batches, split_by_learned
from finetune.backends.mlx import adapters, cpu_attention, cpu_math, loading, shared_prompts
from finetune.backends.mlx.batch_proof import described
from finetune.backends.mlx.decoding import Decoder, Sampling
from finetune.backends.mlx.logprobs import collate, logprob_function
from finetune.backends.mlx.precision import cast
from finetune.backends.mlx.proofs import largest
from finetune.backends.mlx.runtime import DTYPE, ON_CPU, is_leader, mx, streams
from finetune.models.constraint import Restrict
from finetune.models.conversation import AnyConversation
from finetune.models.encoder import ChatEncoder
from finetune.models.foreign import foreign
from finetune.models.loss_mask import Example
from finetune.signals import Stop, never
from finetune.terminal import say

_LOSS_TOKENS = 2048  # of examples whose loss is computed at once
_ROUNDING = 5e-3  # of the largest logit


def load(folder: Path, encoder: ChatEncoder, adapter: Path | None = None, base: str | None = None) -> "MlxModel":
    """The model of ``folder``, with the adapter of the folder ``adapter`` attached. UserError if it cannot be loaded, exit 3 if
    the adapter does not fit.

    ``base`` is the fingerprint of the model's weights; an adapter that records another one is refused.
    """
    network = load_network(folder)
    switch = adapters.load(network, adapter, base) if adapter is not None else None
    network.eval()
    mx.eval(network.parameters())
    prove_functions(network)
    return MlxModel(network, encoder, switch)


def prove_functions(network: Any) -> None:
    """Leave the fast functions for the CPU off from here on, and say so, if they change what this model computes."""
    if not cpu_math.replaced():
        return
    streams(2)  # so few tokens are computed fastest by one thread
    tokens = mx.array([[1, 2, 3, 4, 5, 6]])
    with cpu_attention.short_pieces():
        ours = network(tokens)
        mx.eval(ours)
        cpu_math.remove()
        plain = network(tokens)
        apart = largest(ours - plain)
    if apart <= _ROUNDING * max(1.0, largest(plain)):
        cpu_math.put_back()
    else:
        why = f"with this model logits differ by {apart:.2g}"
        if is_leader():
            say(f"Note: FineTune's functions for the CPU are not used, because {why}; MLX's own take longer.")


def load_network(folder: Path, dtype: Any = None) -> Any:
    """The frozen network of ``folder``, in ``DTYPE`` unless it is given; its weights are read when they are first used.

    UserError if MLX cannot load it.
    """
    dtype = DTYPE if dtype is None else dtype
    cpu_math.install()
    network = loading.load(folder).network
    with foreign(f"{folder}: MLX cannot load this model"):
        network(mx.array([[0, 0]]))  # computes nothing, but sizes that contradict each other meet
        network.freeze()
    cast(network, dtype)
    return network


class MlxModel:
    """A model of ``backends.interface``. ``switch`` brings the adapter into ``state``; without one there is no adapter."""

    def __init__(
        self,
        network: Any,
        encoder: ChatEncoder,
        switch: Callable[[adapters.AdapterMode], None] | None = None,
        state: adapters.AdapterMode = "attached",
    ):
        self._network = network
        self.encoder = encoder
        self._switch = switch
        self._state = state

    @property
    def network(self) -> Any:
        if self._switch:
            self._switch(self._state)
        return self._network

    def without_adapter(self) -> "MlxModel":
        """The base model on the same weights. It is not a second copy: only one of the two can work at a time."""
        return MlxModel(self._network, self.encoder.base, self._switch, "disabled")

    def fused(self) -> "MlxModel":
        """The tuned model with the adapter added into the weights: a copy of the adapted layers, made when it is first used."""
        return MlxModel(self._network, self.encoder, self._switch, "fused")

    @property
    def changes_nothing(self) -> bool:
        """Whether there is an adapter that leaves the model unchanged."""
        return self._switch is not None and adapters.changes_nothing(self.network)

    @property
    def batch_hint(self) -> int:
        """How many answers to ask for in one call, so that progress can be shown in between."""
        return 64 if ON_CPU else 256

    @property
    def answering(self) -> str:
        """How it has answered several conversations: "together", or in another way and why; "" if it has not."""
        return described(self._network)

    def answers(
        self,
        conversations: Sequence[AnyConversation],
        on_answer: Callable[[int, Answer], None] = lambda index, answer: None,
        *,
        max_tokens: int,
        stops: bool = True,
        stop: Stop = never,
        restrict: Restrict | None = None,
    ) -> list[Answer]:
        """Greedy answers, decoded many at a time, in the order of the conversations; empty if ``stop`` interrupted them.

        ``on_answer`` is called with each as soon as it is finished. With ``stops`` False each runs to ``max_tokens``, for
        measurements. ``restrict`` says what each may be.
        """
        self.network.eval()
        prompts = [self.encoder.prompt(conversation) for conversation in conversations]
        answers: dict[int, Answer] = {}
        stop_tokens = self.encoder.stop_tokens if stops else frozenset[int]()
        decoder = Decoder(self.network, stop_tokens, max_tokens, restrict=restrict)
        for finished in decoder.run(prompts, stop):
            read = self.encoder.read(finished.tokens, stopped=finished.stopped)
            answer = Answer(read.text, len(finished.tokens), finished.stopped, finished.seconds, read.raw)
            answers[finished.index] = answer
            on_answer(finished.index, answer)
        return [answers[index] for index in range(len(prompts))] if len(answers) == len(prompts) else []

    def sample(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        temperature: float,
        seed: str,
        stop: Stop = never,
    ) -> list[Sample] | None:
        """One sampled completion for each prompt (token ids); None if ``stop`` interrupted it."""
        sampling = Sampling(temperature, seed)
        decoder = Decoder(self.network, self.encoder.stop_tokens, max_tokens, sampling)
        found: dict[int, Sample] = {}
        with adapters.fused_for_a_while(decoder.network):
            for finished in decoder.run(prompts, stop):
                end = [] if finished.stop is None else [finished.stop]
                found[finished.index] = Sample([*finished.tokens, *end], finished.logprobs, finished.stopped)
        return None if len(found) < len(prompts) else [found[index] for index in range(len(prompts))]

    def losses(
        self,
        examples: Sequence[Example],
        on_batch: Callable[[int], None] = lambda count: None,
        *,
        same_prompts: bool = False,
    ) -> list[float]:
        """For each example the negative log-probability of its learned tokens, summed, in nats. With ``same_prompts`` that of
        neighbours is computed once, if the model computes the same then."""
        network = self.network
        logprobs = logprob_function(network)
        found = [0.0] * len(examples)
        shares = same_prompts and shared_prompts.why_not(network) is None
        batches = shared_prompts.batches(examples, _LOSS_TOKENS) if shares else length_batches(examples, _LOSS_TOKENS)
        for indices in batches:
            batch = [examples[index] for index in indices]
            values: Any = logprobs(network, collate(batch, share_prompts=shares)).tolist()
            for index, own in zip(indices, split_by_learned(values, batch), strict=True):
                found[index] = -sum(own)
            on_batch(len(batch))
        return found

    def stream(self, prompt: Sequence[int], max_tokens: int, *, stops: bool = True) -> Iterator[int]:
        """Greedy tokens after a prompt (token ids), one at a time, without the end-of-sequence token that ends them."""
        from mlx_lm.generate import generate_step

        for token, _ in generate_step(mx.array(list(prompt)), self.network, max_tokens=max_tokens):
            if stops and int(token) in self.encoder.stop_tokens:
                return
            yield int(token)
