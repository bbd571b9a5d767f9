"""A model and its adapter in memory: it answers, one conversation at a time or many at once."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from finetune.backends.mlx import adapters, cpu_math
from finetune.backends.mlx.runtime import DTYPE, lanes, mx
from finetune.cli import UserError, first_line
from finetune.encoding import ChatEncoder, Message
from finetune.evaluation import Answer

_BATCH = 32  # answers decoded at once; more gains little and costs memory


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
        from mlx_lm.generate import BatchGenerator

        lanes(1)  # all BLAS threads for one batch
        prompts = [self.encoder.prompt(messages) for messages in conversations]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # equal lengths together: little padding
        generator = BatchGenerator(
            self.network,
            max_tokens=max_tokens,
            stop_tokens=[[token] for token in self.encoder.stop_tokens] if stops else None,
            completion_batch_size=_BATCH,
        )
        tokens: dict[int, list[int]] = {uid: [] for uid in generator.insert([prompts[i] for i in order])}
        stopped = dict.fromkeys(tokens, False)
        while responses := generator.next_generated():
            for response in responses:
                stopped[response.uid] = response.finish_reason == "stop"
                if not stopped[response.uid]:
                    tokens[response.uid].append(response.token)
                if response.finish_reason is not None:
                    on_answer()
        generator.close()
        answers: list[Answer | None] = [None] * len(prompts)
        for i, (uid, generated) in zip(order, tokens.items(), strict=True):
            answers[i] = Answer(self.encoder.decode(generated), len(generated), stopped[uid])
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
