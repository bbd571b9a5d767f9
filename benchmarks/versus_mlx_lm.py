"""Our trainer against ``mlx_lm.lora --mask-prompt``: speed, memory, and the loss after equal examples.

    python benchmarks/versus_mlx_lm.py --quick                       builtin model and rows, a few minutes
    python benchmarks/versus_mlx_lm.py --model gemma.gguf --rows ROWS.jsonl --json result.json

Both train the same rows with the same masks, batch size, LoRA layers and learning rate, from float32 weights (on the CPU
the trainer of mlx-lm would run 30 times slower in bfloat16), on the same BLAS with the same settings of malloc. Each runs in
a process of its own, in turn, so that a drift of the machine meets both; the first steps of each are not counted. mlx-lm
compiles its step where a C++ compiler is at hand; ``--peer-compile`` measures it so. The validation loss of both is
measured afterwards by one and the same function, over all validation rows.
"""

import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from finetune import artifacts, cli  # noqa: E402
from finetune.cli import option  # noqa: E402
from finetune.config import TrainingConfig  # noqa: E402

_WARM = 3  # steps at the start of a turn that are not counted
_LORA: dict[str, Any] = {"rank": 16, "scale": 2.0, "dropout": 0.0}


@dataclass(frozen=True)
class VersusConfig:
    model: str = option("builtin", "builtin, a model folder or a .gguf file")
    rows: str = option("builtin", "builtin, or a JSONL file with the fields of the sql task")
    sample_size: int = option(1200, "rows, over all splits", at_least=40)
    steps: int = option(60, "training steps of each turn", at_least=10)
    turns: int = option(2, "turns of each trainer", at_least=1)
    batch_size: int = option(4, "rows per step", at_least=1)
    learning_rate: float = option(2e-4, "the same for both, constant", above=0)
    quick: bool = option(False, "one turn of 24 steps each")
    peer_compile: bool = option(False, "let mlx-lm compile its step (on the CPU this needs g++)")
    json: Path | None = option(None, "write the result to this file")
    child: str | None = option(None, "internal: which trainer this process runs", choices="children")
    folder: Path | None = option(None, "internal: where the rows and the float32 weights are")


def main(config: VersusConfig) -> None:
    if config.child:
        print(json.dumps(_CHILDREN[config.child](config)))
        return
    steps, turns = (24, 1) if config.quick else (config.steps, config.turns)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(config, folder)
        found: dict[str, list[dict[str, Any]]] = {"ours": [], "mlx-lm": []}
        for _ in range(turns):
            for child, results in found.items():
                results.append(_in_a_process(config, child, folder, steps))
        record = _compared(config, steps, found)
    _print(record)
    if config.json:
        artifacts.write_json(config.json, record)


def _prepare(config: VersusConfig, folder: Path) -> None:
    """Rows as dataset.py writes them, and the model in float32."""
    dataset = ["--type", "sql", "--dataset-name", config.rows, "--sample-size", str(config.sample_size)]
    command = [sys.executable, str(ROOT / "dataset.py"), *dataset, "--output-dir", str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)

    from finetune.backends.mlx.runtime import mx  # isort: skip
    from finetune.models import find_model

    source = find_model(config.model, print).path
    (folder / "model").mkdir()
    for path in source.iterdir():
        if path.suffix == ".safetensors":
            weights: Any = mx.load(str(path))
            weights = {key: array.astype(mx.float32) for key, array in weights.items()}
            mx.save_safetensors(str(folder / "model" / path.name), weights, metadata={"format": "mlx"})
        else:
            (folder / "model" / path.name).write_bytes(path.read_bytes())


def _in_a_process(config: VersusConfig, child: str, folder: Path, steps: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", child, "--folder", str(folder), "--steps", str(steps)]
    command += ["--batch-size", str(config.batch_size), "--learning-rate", str(config.learning_rate)]
    command += ["--peer-compile"] * config.peer_compile
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"{child}: {result['examples_per_second']:.2f} examples/s, {time.monotonic() - started:.0f} s", flush=True)
    return dict(result)


def _ours(config: VersusConfig) -> dict[str, Any]:
    from finetune.backends import mlx
    from finetune.backends.mlx.runtime import mx
    from finetune.methods import METHODS

    encoder, train, valid = _examples(config)
    assert config.folder
    settings = TrainingConfig(
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        schedule="constant",
        warmup=0,
        lora_rank=_LORA["rank"],
        lora_scale=_LORA["scale"],
    )
    model = mlx.load(config.folder / "model", encoder)
    trainer = mlx.Trainer(model, METHODS["sft"], train, settings, config.steps, "")
    weights = mx.get_active_memory()
    mx.reset_peak_memory()
    steps = list(trainer.run(lambda: False))
    peak = mx.get_peak_memory()
    counted = steps[_WARM:]
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
        "validation_loss": trainer.validation_loss(valid),
        "matmul_rate_share": floor / seconds,
        "matmul_gflops": rate / 1e9,
    }


def _floor(trainer: Any, tokens: int, learned: int) -> tuple[float, float]:
    """Seconds that the matrix products of these tokens take at the machine's measured rate, and that rate."""
    from finetune.backends.mlx import adapters
    from finetune.backends.mlx.completion import plain_head
    from finetune.backends.mlx.runtime import lanes, mx

    network = trainer.network
    head = plain_head(network)
    assert head is not None
    inside = sum(
        array.size
        for name, array in adapters.tree_flatten(network.parameters())
        if ".layers." in f".{name}" and array.ndim == 2
    )
    # forward and gradient of the input for each weight; LoRA's own weights have a gradient as well
    trained = adapters.count(network)
    operations = 2 * (2 * (inside - trained) + 3 * trained) * tokens + 2 * 2 * head.size * learned
    lanes(1)
    a = mx.random.normal((2048, 2048))
    mx.eval(a)
    times = []
    for _ in range(8):
        started = time.perf_counter()
        mx.eval(a @ a)
        times.append(time.perf_counter() - started)
    rate = 2 * 2048**3 / min(times)
    return operations / rate, rate


def _peer(config: VersusConfig) -> dict[str, Any]:
    from finetune.backends.mlx.runtime import lanes, mx  # the BLAS, before mlx_lm

    from mlx_lm.tuner import datasets, trainer, utils  # isort: skip
    import mlx.optimizers as optim
    from mlx_lm.tuner.callbacks import TrainingCallback
    from mlx_lm.utils import load

    assert config.folder
    lanes(1)
    if config.peer_compile:
        mx.enable_compile()
    model, tokenizer = load(str(config.folder / "model"))
    mx.random.seed(42)
    model.freeze()
    utils.linear_to_lora_layers(model, len(model.layers), dict(_LORA))
    mx.eval(model.parameters())
    rows = [row for _, row in artifacts.read_jsonl(config.folder / "data" / "train.jsonl")]
    train = datasets.CacheDataset(datasets.ChatDataset(rows, tokenizer, mask_prompt=True))
    weights = mx.get_active_memory()
    mx.reset_peak_memory()
    reports = []

    class Callback(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
            reports.append(train_info)

    adapter = config.folder / "peer"
    adapter.mkdir(exist_ok=True)
    arguments = trainer.TrainingArgs(
        batch_size=config.batch_size,
        iters=config.steps,
        steps_per_report=1,
        steps_per_eval=10**9,
        steps_per_save=10**9,
        max_seq_length=1024,
        adapter_file=str(adapter / artifacts.ADAPTERS),
    )
    optimizer = optim.AdamW(learning_rate=config.learning_rate)
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train(model, optimizer, train, None, args=arguments, training_callback=Callback())
    peak = mx.get_peak_memory()
    counted = reports[_WARM:]
    seconds = sum(1 / report["iterations_per_second"] for report in counted)
    completion = sum(report["tokens_per_second"] / report["iterations_per_second"] for report in counted)
    settings = {"fine_tune_type": "lora", "num_layers": len(model.layers), "lora_parameters": _LORA}
    artifacts.write_json(adapter / artifacts.ADAPTER_CONFIG, settings)
    del model, optimizer
    return {
        "examples_per_second": config.batch_size * len(counted) / seconds,
        "completion_tokens_per_second": completion / seconds,
        "weights_mb": weights / 1e6,
        "peak_above_weights_mb": (peak - weights) / 1e6,
        "validation_loss": _validation_loss(config, adapter),
    }


def _validation_loss(config: VersusConfig, adapter: Path) -> float:
    """By our own function, from the adapters that mlx-lm saved."""
    from finetune.backends import mlx
    from finetune.backends.mlx import adapters
    from finetune.methods import METHODS

    encoder, train, valid = _examples(config)
    assert config.folder
    model = mlx.load(config.folder / "model", encoder)
    settings = TrainingConfig(batch_size=config.batch_size, lora_rank=_LORA["rank"], lora_scale=_LORA["scale"])
    trainer = mlx.Trainer(model, METHODS["sft"], train, settings, 1, "")
    adapters.put(model.network, adapters.read(adapter / artifacts.ADAPTERS)[0])
    return float(trainer.validation_loss(valid))


def _examples(config: VersusConfig) -> tuple[Any, list[Any], list[Any]]:
    from finetune.encoding import ChatEncoder, encode_rows

    assert config.folder
    encoder = ChatEncoder(config.folder / "model")
    splits = []
    for split in ("train", "valid"):
        path = config.folder / "data" / f"{split}.jsonl"
        splits.append(encode_rows(encoder, artifacts.read_jsonl(path), path, 1024)[0])
    return encoder, splits[0], splits[1]


_CHILDREN = {"ours": _ours, "mlx-lm": _peer}


def _compared(config: VersusConfig, steps: int, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    middle = {
        side: {key: statistics.median(turn[key] for turn in turns) for key in turns[0]} for side, turns in found.items()
    }
    ours, peer = middle["ours"], middle["mlx-lm"]
    return {
        "model": config.model,
        "rows": config.rows,
        "steps": steps,
        "batch_size": config.batch_size,
        "examples_per_second_ratio": ours["examples_per_second"] / peer["examples_per_second"],
        "peak_above_weights_ratio": ours["peak_above_weights_mb"] / peer["peak_above_weights_mb"],
        "validation_loss_ours": ours["validation_loss"],
        "validation_loss_mlx_lm": peer["validation_loss"],
        "matmul_rate_share": ours["matmul_rate_share"],
        "ours": ours,
        "mlx_lm": peer,
        "machine": artifacts.machine_and_versions(),
    }


def _print(record: dict[str, Any]) -> None:
    names = {
        "examples_per_second": "examples/s",
        "completion_tokens_per_second": "completion tokens/s",
        "weights_mb": "weights, MB",
        "peak_above_weights_mb": "peak above the weights, MB",
        "validation_loss": "validation loss afterwards",
    }
    print(f"\n{record['model']}, {record['rows']}, {record['steps']} steps of {record['batch_size']} rows")
    print(f"{'':<28}{'ours':>10}{'mlx-lm':>10}{'ratio':>8}")
    for key, name in names.items():
        ours, peer = record["ours"][key], record["mlx_lm"][key]
        print(f"{name:<28}{ours:>10.4g}{peer:>10.4g}{ours / peer:>8.2f}")
    print(f"{'padding':<28}{record['ours']['padding']:>10.1%}")
    share, rate = record["matmul_rate_share"], record["ours"]["matmul_gflops"]
    print(f"{'share of the matmul rate':<28}{share:>10.0%}   of {rate:.0f} GFLOP/s, measured on 2048 x 2048")


if __name__ == "__main__":
    cli.run(main, VersusConfig, choices={"children": _CHILDREN})
