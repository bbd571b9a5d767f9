"""Our GRPO against mlx-lm-lora's: answers drawn a second and updates a second, on the same model, prompts and groups.

    pip install --no-deps mlx-lm-lora==5.10.2
    python benchmarks/rl.py --steps 6                          from the builtin model as it is
    python benchmarks/rl.py --from-adapter checkpoints         from adapters that answer as they should, and end

Both have float32 weights, the same OpenBLAS (loaded before MLX, which mlx-lm-lora does not do; with MLX's own BLAS a matrix
product takes thirty times as long on Linux), the same LoRA layers, AdamW, learning rate, temperature 1 without top-p or top-k,
one update a rollout, no reference model, and the same reward: the share of vowels in an answer, because it differs in nearly
every group, so that both learn from all of them. mlx.compile is off for both: on a CPU it calls the C++ compiler. Prompts are
read, answers drawn and gradients computed as each does it by itself. Each runs in a process of its own, in turns; the first
step is not counted.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.trl_trainers import peak_process_mb  # noqa: E402
from benchmarks.versus_mlx_lm import prepare  # noqa: E402
from finetune.records import files, machine  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402
from finetune.settings.fields import flag, option  # noqa: E402

_LORA: dict[str, Any] = {"rank": 16, "scale": 2.0, "dropout": 0.0}
_NAMES = {
    "rollout_tokens_per_second": "tokens drawn a second, while drawing",
    "updates_per_second": "updates a second, all in all",
    "answers_per_second": "answers a second, all in all",
    "rollout_seconds": "seconds of drawing an update",
    "update_seconds": "seconds of the rest an update",
    "tokens_an_answer": "tokens an answer",
    "peak_process_mb": "peak of the process, MB",
}
_PEER = "mlx-lm-lora"
_FIRST = 1  # steps that are not counted


@dataclass(frozen=True)
class RlConfig:
    model: str = option("builtin", "builtin, a model folder or a .gguf file")
    rows: str = option("builtin", "builtin, or a JSONL file with the fields of the sql task")
    sample_size: int = option(200, "rows, over all splits", at_least=40)
    from_adapter: Path | None = option(None, "begin with the adapters of this folder (rank 16 on all layers)")
    steps: int = option(5, "steps of each turn", at_least=2)
    turns: int = option(1, "turns of each", at_least=1)
    batch_size: int = option(4, "prompts a step", at_least=1)
    group_size: int = option(8, "answers to each prompt", at_least=2)
    max_tokens: int = option(64, "longest answer", at_least=1)
    seed: int = option(0, "of the first turn", at_least=0)
    json: Path | None = option(None, "write the result to this file")
    trainer: str | None = option(
        None, "run one turn of this trainer in --folder and print its figures", choices="trainers"
    )
    folder: Path = option(Path(), "where the rows and the float32 weights are")


def vowels(answer: str) -> float:
    return sum(character in "aeiouAEIOU" for character in answer) / max(1, len(answer))


@dataclass
class Clock:
    """What is noted of the steps of a trainer."""

    ends: list[float]
    drawing: list[float]
    tokens: list[int]
    answers: list[int]

    def figures(self) -> dict[str, float]:
        steps = len(self.ends) - 1 - _FIRST  # the first end is the start
        seconds = self.ends[-1] - self.ends[_FIRST]
        drawing, tokens, answers = (sum(values[_FIRST:]) for values in (self.drawing, self.tokens, self.answers))
        return {
            "rollout_tokens_per_second": tokens / drawing,
            "updates_per_second": steps / seconds,
            "answers_per_second": answers / seconds,
            "rollout_seconds": drawing / steps,
            "update_seconds": (seconds - drawing) / steps,
            "tokens_an_answer": tokens / answers,
            "peak_process_mb": peak_process_mb(),
        }


def _ours(config: RlConfig) -> Clock:
    from finetune.backends import mlx
    from finetune.methods import METHODS
    from finetune.models.encoder import ChatEncoder
    from finetune.models.examples import encode_rows
    from finetune.rollouts.rewards import Reward
    from finetune.rollouts.source import RolloutSource

    encoder, method, path = (
        ChatEncoder(config.folder / "model"),
        METHODS["grpo"],
        config.folder / "data" / "train.jsonl",
    )
    rows = files.read_jsonl(path)
    prompts, _ = encode_rows(encoder, rows, path, 1024, method.encode)
    settings = TrainingConfig(
        method="grpo",
        batch_size=config.batch_size,
        grpo_group_size=config.group_size,
        grpo_max_tokens=config.max_tokens,
        learning_rate=1e-5,
        schedule="constant",
        warmup=0,
        weight_decay=0.0,
        lora_rank=_LORA["rank"],
        lora_scale=_LORA["scale"],
        seed=config.seed,
    )
    model = mlx.load(config.folder / "model", encoder)
    start = config.from_adapter / files.ADAPTERS if config.from_adapter else None
    clock = Clock([time.perf_counter()], [], [], [])
    source = RolloutSource(
        method,
        prompts,
        lambda row, text, *, stopped: Reward(vowels(text), {}),
        encoder,
        settings,
    )
    trainer = mlx.Trainer(
        model, method, source, settings, config.steps, "", start and _without_base(start, config.folder)
    )
    for step in trainer.run(lambda: False):
        clock.ends.append(time.perf_counter())
        clock.drawing.append(step.metrics["rollout_seconds"])
        clock.tokens.append(int(step.metrics["sampled_tokens"]))
        clock.answers.append(config.batch_size * config.group_size)
    return clock


def _without_base(path: Path, folder: Path) -> Path:
    """The adapters without the fingerprint of the model they were made on: here it is the same model in float32."""
    from finetune.backends.mlx.runtime import mx

    copied = folder / f"start-{time.time_ns()}.safetensors"
    arrays: Any = mx.load(str(path))
    mx.save_safetensors(str(copied), dict(arrays))
    return copied


def _peer(config: RlConfig) -> Clock:
    from finetune.backends.mlx.runtime import mx, streams

    import mlx.optimizers as optim  # isort: skip
    import numpy
    from mlx_lm.tuner import utils
    from mlx_lm.tuner.callbacks import TrainingCallback
    from mlx_lm.utils import load
    from mlx_lm_lora.trainer import grpo_trainer as peer

    streams(1)
    mx.random.seed(config.seed)
    numpy.random.seed(config.seed)
    model, tokenizer = load(str(config.folder / "model"))
    model.freeze()
    utils.linear_to_lora_layers(model, len(model.layers), dict(_LORA))
    if config.from_adapter:
        model.load_weights(str(config.from_adapter / files.ADAPTERS), strict=False)
    mx.eval(model.parameters())
    rows = [row for _, row in files.read_jsonl(config.folder / "data" / "train.jsonl")]
    dataset = []
    for row in rows:
        *prompt, answer = row["messages"]
        tokens = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=False)
        dataset.append((list(tokens), tokenizer.encode(answer["content"]), prompt[-1]["content"], answer["content"]))

    def reward(prompts: Any, completions: Any, answer: Any, types: Any = None) -> list[float]:
        return [vowels(completion) for completion in completions]

    clock = Clock([time.perf_counter()], [], [], [])
    generate: Any = peer.generate_grpo

    def generate_timed(**named: Any) -> Any:
        started = time.perf_counter()
        completions, texts, indices = generate(**named)
        mx.eval(completions)
        clock.drawing.append(time.perf_counter() - started)
        clock.tokens.append(sum(completion.size for completion in completions))
        clock.answers.append(len(completions))
        return completions, texts, indices

    peer.__dict__["generate_grpo"] = generate_timed

    class Callback(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
            clock.ends.append(time.perf_counter())

    arguments = peer.GRPOTrainingArgs(
        batch_size=config.batch_size,
        iters=config.steps,
        steps_per_report=1,
        steps_per_eval=10**9,
        steps_per_save=10**9,
        max_seq_length=1024,
        adapter_file=str(config.folder / "peer.safetensors"),
        group_size=config.group_size,
        beta=0.0,
        epsilon=0.2,
        max_completion_length=config.max_tokens,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        grpo_loss_type="bnpo",
    )
    sys.stdout = sys.stderr  # its reports
    try:
        peer.train_grpo(
            model,
            None,
            tokenizer,
            optim.AdamW(learning_rate=1e-5, weight_decay=0.0),
            dataset,
            reward_funcs=[reward],
            args=arguments,
            training_callback=Callback(),
            end_answer_token="",
        )
    finally:
        sys.stdout = sys.__stdout__
    return clock


TRAINERS: dict[str, Callable[[RlConfig], Clock]] = {"ours": _ours, _PEER: _peer}


def main(config: RlConfig) -> None:
    if config.trainer:
        print(json.dumps(TRAINERS[config.trainer](config).figures()))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in TRAINERS}
    with tempfile.TemporaryDirectory() as name:
        prepare(config.model, config.rows, config.sample_size, Path(name))
        for turn in range(config.turns):
            for trainer, results in found.items():
                results.append(_turn(replace(config, folder=Path(name), trainer=trainer, seed=config.seed + turn)))
    medians = {
        trainer: {key: statistics.median(turn[key] for turn in turns) for key in _NAMES}
        for trainer, turns in found.items()
    }
    record = {"medians": medians, "turns": found, "machine": asdict(machine.describe())}
    start = f" with {config.from_adapter}" if config.from_adapter else ""
    print(
        f"\n{config.model}{start}: {config.steps} steps of {config.batch_size} prompts with {config.group_size} answers of up"
        f" to {config.max_tokens} tokens, {config.turns} turn{'s' * (config.turns > 1)}"
    )
    print(f"{'':<40}" + "".join(f"{trainer:>14}" for trainer in medians) + f"{'ratio':>10}")
    for key, label in _NAMES.items():
        values = [figures[key] for figures in medians.values()]
        print(f"{label:<40}" + "".join(f"{value:>14.4g}" for value in values) + f"{values[0] / values[1]:>10.2f}")
    if config.json:
        files.write_json(config.json, record)


def _turn(config: RlConfig) -> dict[str, float]:
    flags = ["--trainer", str(config.trainer), "--folder", str(config.folder), "--seed", str(config.seed)]
    for name in ("steps", "batch_size", "group_size", "max_tokens"):
        flags += [flag(name), str(getattr(config, name))]
    if config.from_adapter:
        flags += ["--from-adapter", str(config.from_adapter)]
    started = time.monotonic()
    done = subprocess.run([sys.executable, __file__, *flags], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    print(f"{config.trainer}: {time.monotonic() - started:.0f} s", flush=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


run = partial(command_line.run, choices={"trainers": TRAINERS})

if __name__ == "__main__":
    run(main, RlConfig)
