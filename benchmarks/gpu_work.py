"""One piece of work of ``gpu.py`` in a process of its own: what it reached, as the last line of the output, in JSON.

All take the same rows: token ids of a fixed random seed, of 60 to 400 tokens, the last third of which is learned; ``--long``
makes them six times as long. Counted are the tokens of the rows without padding, in the steps of the second half of the time:
by then the shapes of most batches have been compiled. The time to the end of the first step is given apart.
"""

import contextlib
import io
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.true_shapes import SHAPES, Shape, network_of  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402
from finetune.settings.fields import option  # noqa: E402

RANK = 16
_FEWEST_STEPS = 6
_MOST_STEPS = 100_000


@dataclass(frozen=True)
class WorkConfig:
    work: str = option("train", "what is done", choices="works")
    shape: str = option("tiny", "of the model", choices="shapes")
    seconds: float = option(8.0, "of training, or none more is begun", above=0)
    batch_size: int = option(8, "rows per step", at_least=1)
    long: bool = option(False, "rows of up to 2,400 tokens")
    prompts: int = option(128, "to be answered", at_least=2)
    max_tokens: int = option(128, "of each answer", at_least=1)


def main(config: WorkConfig) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # mlx-lm's own progress
        found = WORKS[config.work](config, SHAPES[config.shape])
    print(json.dumps(found))


def rows(config: WorkConfig, shape: Shape, count: int) -> list[list[int]]:
    chosen = random.Random(7)
    factor = 6 if config.long else 1
    lengths = [factor * chosen.randint(60, 400) for _ in range(count)]
    return [[chosen.randrange(3, shape.vocabulary) for _ in range(length)] for length in lengths]


class Clock:
    """When each step was done, and how many tokens it had."""

    def __init__(self, seconds: float):
        self._seconds, self._started = seconds, time.perf_counter()
        self.steps: list[tuple[float, int, int]] = []  # when, tokens, learned tokens

    def note(self, tokens: int, learned: int) -> bool:
        """Whether to go on."""
        now = time.perf_counter() - self._started
        self.steps.append((now, tokens, learned))
        return now < self._seconds or len(self.steps) < _FEWEST_STEPS

    def figures(self, shape: Shape, weights: int) -> dict[str, Any]:
        from finetune.backends.mlx.runtime import mx

        mx.synchronize()
        half = max(1, next(at for at, step in enumerate(self.steps) if step[0] >= self.steps[-1][0] / 2))
        half = min(half, len(self.steps) - 2)
        counted = self.steps[half:]
        seconds = counted[-1][0] - self.steps[half - 1][0]
        tokens, learned = sum(step[1] for step in counted), sum(step[2] for step in counted)
        times = [after[0] - before[0] for before, after in zip(self.steps[half - 1 :], counted, strict=False)]
        return {
            "tokens_per_second": tokens / seconds,
            "step_seconds": median(times),
            "first_step_seconds": self.steps[0][0],
            "steps": len(self.steps),
            "weights_gb": weights / 1e9,
            "peak_gb": mx.get_peak_memory() / 1e9,
            "teraflops": shape.training_flop(tokens, learned, RANK) / seconds / 1e12,
        }


def _train(config: WorkConfig, shape: Shape) -> dict[str, Any]:
    from finetune.backends.mlx.runtime import describe, mx
    from finetune.backends.mlx.training import Trainer
    from finetune.methods import METHODS, RowSource
    from finetune.models.examples import as_rows
    from finetune.models.loss_mask import Example

    made = rows(config, shape, 16 * config.batch_size)
    examples = [Example(row, [3 * at >= 2 * len(row) for at in range(len(row))]) for row in made]
    settings = TrainingConfig(
        batch_size=config.batch_size,
        lora_rank=RANK,
        learning_rate=1e-5,
        warmup=0,
        schedule="constant",
        max_seq_length=4096,
    )
    model: Any = SimpleNamespace(network=network_of(shape), encoder=SimpleNamespace(new_tokens=None))
    source = RowSource(METHODS["sft"], as_rows(examples), settings)
    weights = mx.get_active_memory()
    trainer = Trainer(model, METHODS["sft"], source, settings, _MOST_STEPS, "")
    mx.reset_peak_memory()
    clock = Clock(config.seconds)
    trainer.train(lambda: False, lambda step: clock.note(sum(len(made[row]) - 1 for row in step.rows), step.learned))
    found = {**clock.figures(shape, weights), "device": describe(), "notes": list(trainer.notes)}
    return {**found, "shapes": len(getattr(trainer._steps, "shapes", ()))}


class _Enough(Exception):
    """The time is over."""


def _train_mlx_lm(config: WorkConfig, shape: Shape) -> dict[str, Any]:
    from finetune.backends.mlx.runtime import mx, streams

    from mlx_lm.tuner import trainer, utils  # isort: skip
    import mlx.optimizers as optim
    from mlx_lm.tuner.callbacks import TrainingCallback

    streams(1)
    made = rows(config, shape, 16 * config.batch_size)
    dataset = [(row, 2 * len(row) // 3) for row in made]
    network = network_of(shape)
    weights = mx.get_active_memory()
    utils.linear_to_lora_layers(network, len(network.layers), {"rank": RANK, "scale": 2.0, "dropout": 0.0})
    mx.eval(network.parameters())
    mx.reset_peak_memory()
    sizes: list[tuple[int, int]] = []
    clock = Clock(config.seconds)

    def batches(*arguments: Any, **named: Any) -> Iterator[Any]:
        for batch, lengths in trainer.iterate_batches(*arguments, **named):
            ends: Any = lengths.tolist()
            sizes.append((sum(end - 1 for _, end in ends), sum(end - begin for begin, end in ends)))
            yield batch, lengths

    class Callback(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
            if not clock.note(*sizes[-1]):
                raise _Enough

    arguments = trainer.TrainingArgs(
        batch_size=config.batch_size,
        iters=_MOST_STEPS,
        steps_per_report=1,
        steps_per_eval=10**9,
        steps_per_save=10**9,
        max_seq_length=4096,
    )
    optimizer = optim.AdamW(learning_rate=1e-5, bias_correction=True)
    with contextlib.suppress(_Enough):
        trainer.train(
            network, optimizer, dataset, args=arguments, iterate_batches=batches, training_callback=Callback()
        )
    return clock.figures(shape, weights)


def _answers(answer: Callable[[Any, list[list[int]], int], int]) -> Callable[[WorkConfig, Shape], dict[str, Any]]:
    def work(config: WorkConfig, shape: Shape) -> dict[str, Any]:
        from finetune.backends.mlx.runtime import mx

        network = network_of(shape)
        network.eval()
        weights = mx.get_active_memory()
        prompts = [row[: 40 + len(row) // 3] for row in rows(config, shape, config.prompts)]
        answer(network, prompts, 4)  # the proof, and the first kernels
        mx.clear_cache()
        mx.reset_peak_memory()
        started = time.perf_counter()
        tokens = answer(network, prompts, config.max_tokens)
        seconds = time.perf_counter() - started
        return {
            "tokens_per_second": tokens / seconds,
            "seconds": seconds,
            "weights_gb": weights / 1e9,
            "peak_gb": mx.get_peak_memory() / 1e9,
        }

    return work


def _ours(network: Any, prompts: list[list[int]], most: int) -> int:
    from finetune.backends.mlx.decoding import Decoder

    return sum(len(found.tokens) for found in Decoder(network, frozenset(), most).run(prompts))


def _batch_generate(network: Any, prompts: list[list[int]], most: int) -> int:
    from mlx_lm.generate import batch_generate

    nothing = SimpleNamespace(eos_token_ids=set(), decode=lambda tokens: "")
    found = batch_generate(
        network, nothing, prompts, max_tokens=most, return_token_ids=True, completion_batch_size=len(prompts)
    )
    return sum(map(len, found.token_ids))


def _rate(config: WorkConfig, shape: Shape) -> dict[str, Any]:
    from finetune.backends.mlx.matmul_rate import matmul_rate
    from finetune.backends.mlx.runtime import ON_CPU, describe, mx

    about: Any = mx.device_info()
    rate = matmul_rate(512 if config.shape == "tiny" else None if ON_CPU else 8192)
    return {"device": describe(), "teraflops": rate / 1e3, "about": dict(about)}


WORKS: dict[str, Callable[[WorkConfig, Shape], dict[str, Any]]] = {
    "rate": _rate,
    "train": _train,
    "train, mlx-lm": _train_mlx_lm,
    "answers": _answers(_ours),
    "answers, mlx-lm": _answers(_batch_generate),
}

if __name__ == "__main__":
    command_line.run(main, WorkConfig, choices={"works": WORKS, "shapes": SHAPES})
