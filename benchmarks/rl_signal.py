"""How much the answers of one step of GRPO tell, and how far a step may go.

    python benchmarks/rl_signal.py --method grpo --from-adapter checkpoints --batch-size 8

takes the flags of train.py. Twelve rollouts are drawn from the same model, and each has its gradient. The mean product of two
of them over the mean square of one is the share that all answers agree on; the rest is what these prompts and these answers
happen to say. Then the model is moved along the mean of all twelve, as it is and with each component divided by its
root mean square (which is what Adam does), and its greedy answers to the validation rows are rewarded. Nothing is trained.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from finetune import scripts  # noqa: E402
from finetune.backends import load_backend  # noqa: E402
from finetune.methods import METHODS  # noqa: E402
from finetune.models.fingerprint import fingerprint  # noqa: E402
from finetune.records.files import ADAPTERS  # noqa: E402
from finetune.rollouts.rewards import open_judge  # noqa: E402
from finetune.rollouts.source import RolloutSource  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402
from finetune.tasks import TASKS  # noqa: E402
from finetune.terminal import Progress  # noqa: E402
from finetune.training import inputs  # noqa: E402
from finetune.training.validation import mean_reward  # noqa: E402

_ROLLOUTS = 12
_MOVES = (("plain", 0.5), ("plain", 1.0), ("plain", -1.0), ("Adam's", 0.5), ("Adam's", 1.0))  # direction, length


def main(config: TrainingConfig) -> None:
    config = replace(config, grpo_updates=1, grpo_kl=0.0, lora_dropout=0.0)
    method, backend = METHODS["grpo"], load_backend("mlx")
    given = inputs.read_inputs(config, method.encode)
    model = backend.load(given.folder.path, given.encoder)
    begun = config.from_adapter / ADAPTERS if config.from_adapter else None
    base = fingerprint(given.folder.path)
    with open_judge(TASKS[given.dataset.type], config) as judge:
        source = RolloutSource(method, given.train, judge, given.encoder, config)
        trainer = backend.Trainer(model, method, source, config, _ROLLOUTS, base, begun)
        gradients = np.stack(
            [_gradient(trainer, source.next_step(number, trainer, lambda: False)) for number in _numbers()]
        )
        shares = [_agreed(np.delete(gradients, left_out, axis=0)) for left_out in range(_ROLLOUTS)]
        error = np.std(shares) * np.sqrt(_ROLLOUTS - 1)  # jackknife (Tukey 1958)
        answers = config.batch_size * config.grad_accumulation * config.grpo_group_size
        print(
            f"{_ROLLOUTS} rollouts of {answers} answers agree on {_agreed(gradients):.4f} +- {error:.4f} of a gradient"
        )

        mean = gradients.mean(0)
        directions = {"plain": mean, "Adam's": mean / (np.sqrt((gradients**2).mean(0)) + 1e-12)}
        start = _flat(trainer)

        def reward() -> float:
            found = mean_reward(model, judge, given.valid, config, lambda: False, lambda note: None)
            assert found is not None
            return found[0]

        print(f"{'start':<24}reward of {len(given.valid)} greedy answers {reward():.3f}", flush=True)
        for name, length in _MOVES:
            _move(trainer, start - length * directions[name] / np.linalg.norm(directions[name]))
            print(f"{name} direction, {length:+.1f}   reward {reward():.3f}", flush=True)


def _numbers() -> Any:
    with Progress("Drawing", _ROLLOUTS, "rollouts") as bar:
        for number in range(_ROLLOUTS):
            yield number
            bar.advance()


def _agreed(gradients: Any) -> float:
    products = gradients @ gradients.T
    return float(products[~np.eye(len(products), dtype=bool)].mean() / products.diagonal().mean())


def _gradient(trainer: Any, work: Any) -> Any:
    """Of what a step would minimise, over all adapters [parameters]."""
    for part in work.batches:
        trainer._add(part)
    weight, sums = trainer.position.weight or 1.0, trainer._sum or _zeros(trainer)
    trainer._sum, trainer.position = {}, type(trainer.position)()
    return np.concatenate([np.array(sums[name]).ravel() / weight for name in sorted(sums)])


def _zeros(trainer: Any) -> Any:
    """The gradient of a rollout in which no group has anything to teach."""
    from finetune.backends.mlx import adapters

    return {name: 0 * array for name, array in adapters.trainable(trainer.network).items()}


def _flat(trainer: Any) -> Any:
    from finetune.backends.mlx import adapters

    arrays = adapters.trainable(trainer.network)
    return np.concatenate([np.array(arrays[name]).ravel() for name in sorted(arrays)])


def _move(trainer: Any, values: Any) -> None:
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.runtime import mx

    arrays, at = adapters.trainable(trainer.network), 0
    for name in sorted(arrays):
        size = arrays[name].size
        arrays[name] = mx.array(values[at : at + size].reshape(arrays[name].shape))
        at += size
    adapters.put(trainer.network, arrays)


if __name__ == "__main__":
    scripts.run(main, TrainingConfig)
