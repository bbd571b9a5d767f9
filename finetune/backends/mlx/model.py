"""A model and its adapter in memory: it answers, one conversation at a time or many at once."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.backends.mlx import adapters, cpu_math
from finetune.backends.mlx.completion import plain_head
from finetune.backends.mlx.decoding import decode
from finetune.backends.mlx.runtime import DTYPE, mx
from finetune.cli import UserError, first_line
from finetune.encoding import ChatEncoder, Message
from finetune.evaluation import Answer

_BATCH = 64  # answers decoded at once: on the CPU a step costs little more for 64 rows than for 32


def load(folder: Path, encoder: ChatEncoder, adapter: Path | None = None, base: str | None = None) -> "MlxModel":
    """The model of ``folder``, with the adapter of the folder ``adapter`` attached. Raises UserError where they do not fit.

    ``base`` is the fingerprint of the model's weights, which the adapter must name if it names any.
    """
    from mlx.utils import tree_map
    from mlx_lm.utils import load_model

    cpu_math.install()
    try:
        network, _ = load_model(folder, lazy=True)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{folder}: MLX cannot load this model: {first_line(error)}") from None
    network.update(
        tree_map(lambda a: a.astype(DTYPE) if mx.issubdtype(a.dtype, mx.floating) else a, network.parameters())
    )
    if adapter is not None:
        adapters.load(network, adapter, base)
    network.eval()
    mx.eval(network.parameters())
    return MlxModel(network, encoder)


class MlxModel:
    def __init__(self, network: Any, encoder: ChatEncoder):
        self.network = network
        self.encoder = encoder

    @cached_property
    def _head(self) -> Any | None:
        return plain_head(self.network)

    def answers(
        self,
        conversations: Sequence[Sequence[Message]],
        on_answer: Callable[[], None] = lambda: None,
        *,
        max_tokens: int,
        stops: bool = True,
    ) -> list[Answer]:
        """Greedy answers, decoded in batches, in the order of the conversations.

        Without ``stops`` each runs to ``max_tokens``, for measurements.
        """
        prompts = [self.encoder.prompt(messages) for messages in conversations]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # equal lengths together: little padding
        stop_tokens = self.encoder.stop_tokens if stops else frozenset()
        answers: list[Answer | None] = [None] * len(prompts)
        self.network.eval()
        for at in range(0, len(order), _BATCH):
            batch = order[at : at + _BATCH]
            decoded = decode(self.network, self._head, [prompts[i] for i in batch], stop_tokens, max_tokens, on_answer)
            for i, (tokens, stopped) in zip(batch, decoded, strict=True):
                answers[i] = Answer(self.encoder.decode(tokens), len(tokens), stopped)
        return [answer for answer in answers if answer is not None]

    def stream(self, prompt: Sequence[int], max_tokens: int, stops: bool = True) -> Iterator[int]:
        """Greedy tokens after the prompt's token ids, one by one, up to and without the token that stops."""
        from mlx_lm.generate import generate_step

        for token, _ in generate_step(mx.array(list(prompt)), self.network, max_tokens=max_tokens):
            if stops and int(token) in self.encoder.stop_tokens:
                return
            yield int(token)


def peak_memory_mb() -> float:
    """Most memory that MLX has held at once since the last reset, in 10^6 bytes."""
    return float(mx.get_peak_memory()) / 1e6


def reset_peak_memory() -> None:
    mx.reset_peak_memory()
