"""One turn of one trainer in a process of its own: what it reached, as a line of JSON.

``versus_mlx_lm.py`` and ``versus_trl.py`` start this; the folder holds rows as dataset.py writes them, and the model in
float32.
"""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import trl_trainers  # noqa: E402
from benchmarks.turns import LORA, WARM, TurnConfig, examples, settings  # noqa: E402
from finetune.records import files  # noqa: E402
from finetune.settings import command_line  # noqa: E402

_POINTS = 8  # validations of ours in a turn


def main(config: TurnConfig) -> None:
    print(json.dumps(_TRAINERS[config.trainer](config)))


def _ours(config: TurnConfig) -> dict[str, Any]:
    from finetune.backends import mlx
    from finetune.backends.mlx.runtime import mx
    from finetune.methods import METHODS, RowSource
    from finetune.models.examples import as_rows

    encoder, train, valid = examples(config.folder)
    model = mlx.load(config.folder / "model", encoder)
    source = RowSource(METHODS["sft"], as_rows(train), settings(config))
    trainer = mlx.Trainer(model, METHODS["sft"], source, settings(config), config.steps, "")
    weights = mx.get_active_memory()
    mx.reset_peak_memory()
    steps: list[Any] = []
    curve: list[tuple[float, float | None]] = []  # seconds of training, validation loss
    peak = 0
    for step in trainer.run(lambda: False):
        steps.append(step)
        if len(steps) * _POINTS // config.steps > len(curve) or len(steps) == config.steps:
            peak = max(peak, mx.get_peak_memory())
            curve.append((sum(step.seconds for step in steps), trainer.validation_loss(as_rows(valid))))
            mx.reset_peak_memory()
    counted = steps[WARM:]
    seconds = sum(step.seconds for step in counted)
    tokens = sum(step.tokens for step in counted)
    row_tokens = sum(len(train[row].tokens) - 1 for step in counted for row in step.rows)
    floor, rate = _floor(trainer, tokens, sum(step.learned for step in counted))
    return {
        "examples_per_second": sum(len(step.rows) for step in counted) / seconds,
        "completion_tokens_per_second": sum(step.learned for step in counted) / seconds,
        "padding": 1 - row_tokens / tokens,
        "weights_mb": weights / 1e6,
        "peak_above_weights_mb": (peak - weights) / 1e6,
        "seconds": curve[-1][0],
        "validation_loss": curve[-1][1],
        "curve": curve,
        "matmul_rate_share": floor / seconds,
        "matmul_gflops": rate / 1e9,
    }


def _floor(trainer: Any, tokens: int, learned: int) -> tuple[float, float]:
    """Seconds that the matrix products of these tokens take at the machine's measured rate, and that rate."""
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.logprobs import plain_head
    from finetune.backends.mlx.matmul_rate import matmul_rate

    from mlx.utils import tree_flatten  # isort: skip  after the runtime

    network = trainer.network
    head = plain_head(network)
    assert head is not None
    inside = sum(
        array.size
        for name, array in dict(tree_flatten(network.parameters())).items()
        if ".layers." in f".{name}" and array.ndim == 2
    )
    # forward and gradient of the input for each weight; LoRA's own weights have a gradient as well
    trained = adapters.count(network)
    operations = 2 * (2 * (inside - trained) + 3 * trained) * tokens + 2 * 2 * head.size * learned
    rate = matmul_rate(2048) * 1e9
    return operations / rate, rate


def _peer(config: TurnConfig) -> dict[str, Any]:
    from finetune.backends.mlx.runtime import mx, streams

    from mlx_lm.tuner import datasets, trainer, utils  # isort: skip
    import mlx.optimizers as optim
    import numpy as np
    from mlx_lm.tuner.callbacks import TrainingCallback
    from mlx_lm.utils import load

    streams(1)
    if config.peer_compile:
        mx.enable_compile()
    model, tokenizer = load(str(config.folder / "model"))
    mx.random.seed(config.seed)
    np.random.seed(config.seed)
    model.freeze()
    utils.linear_to_lora_layers(model, len(model.layers), dict(LORA))
    mx.eval(model.parameters())
    rows = [row for _, row in files.read_jsonl(config.folder / "data" / "train.jsonl")]
    train = datasets.CacheDataset(datasets.ChatDataset(rows, tokenizer, mask_prompt=True))
    weights = mx.get_active_memory()
    mx.reset_peak_memory()
    reports = []

    class Callback(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
            reports.append(train_info)

    sizes: list[tuple[int, int]] = []  # tokens of a batch, and without padding

    def batches(*arguments: Any, **named: Any) -> Iterator[Any]:
        for batch, lengths in trainer.iterate_batches(*arguments, **named):
            sizes.append((batch.size, int(lengths[:, 1].sum())))
            yield batch, lengths

    adapter = config.folder / "peer"
    adapter.mkdir(exist_ok=True)
    arguments = trainer.TrainingArgs(
        batch_size=config.batch_size,
        iters=config.steps,
        steps_per_report=1,
        steps_per_eval=10**9,
        steps_per_save=10**9,
        max_seq_length=1024,
        adapter_file=str(adapter / files.ADAPTERS),
    )
    optimizer = optim.AdamW(learning_rate=config.learning_rate, bias_correction=config.peer_bias_correction)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train(
            model, optimizer, train, None, args=arguments, iterate_batches=batches, training_callback=Callback()
        )
    peak = mx.get_peak_memory()
    counted = reports[WARM:]
    seconds = sum(1 / report["iterations_per_second"] for report in counted)
    completion = sum(report["tokens_per_second"] / report["iterations_per_second"] for report in counted)
    about = {"fine_tune_type": "lora", "num_layers": len(model.layers), "lora_parameters": LORA}
    files.write_json(adapter / files.ADAPTER_CONFIG, about)
    del model, optimizer
    return {
        "examples_per_second": config.batch_size * len(counted) / seconds,
        "completion_tokens_per_second": completion / seconds,
        "padding": 1 - sum(real for _, real in sizes) / sum(size for size, _ in sizes),
        "weights_mb": weights / 1e6,
        "peak_above_weights_mb": (peak - weights) / 1e6,
        "seconds": sum(1 / report["iterations_per_second"] for report in reports),
        "validation_loss": _validation_loss(config, adapter),
    }


def _validation_loss(config: TurnConfig, adapter: Path) -> float:
    """By our own function, from the adapters that mlx-lm saved."""
    from finetune.backends import mlx
    from finetune.backends.mlx import adapters
    from finetune.methods import METHODS, RowSource
    from finetune.models.examples import as_rows

    encoder, train, valid = examples(config.folder)
    model = mlx.load(config.folder / "model", encoder)
    source = RowSource(METHODS["sft"], as_rows(train), settings(config))
    trainer = mlx.Trainer(model, METHODS["sft"], source, settings(config), 1, "")
    adapters.put(model.network, adapters.read(adapter / files.ADAPTERS)[0])
    loss = trainer.validation_loss(as_rows(valid))
    assert loss is not None  # nobody stops it
    return loss


_TRAINERS = {"ours": _ours, "mlx-lm": _peer, **trl_trainers.TRAINERS}

if __name__ == "__main__":
    command_line.run(main, TurnConfig, choices={"trainers": _TRAINERS})
