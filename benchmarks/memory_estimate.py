"""The memory that ``train.py --dry-run`` estimates from a few layers, against the peak of steps of the whole model.

    python benchmarks/memory_estimate.py [--models builtin,gemma.gguf,folder] [--json FILE]

The rows are random tokens of one length, a fifth of each learned. "tiny" is a Llama of two layers, 64 wide, with random
weights. Estimate and measurement come from processes of their own.
"""

import json
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from finetune.records import files  # noqa: E402
from finetune.settings import command_line  # noqa: E402
from finetune.settings.config import TrainingConfig  # noqa: E402
from finetune.settings.fields import option  # noqa: E402

_GRID: tuple[tuple[int, int, int, dict[str, Any]], ...] = (  # length, batch, rank, more settings
    (64, 4, 16, {}),
    (128, 8, 16, {}),
    (256, 4, 16, {}),
    (256, 4, 64, {}),
    (256, 4, 16, {"grad_checkpoint": True}),
    (512, 2, 16, {}),
    (512, 4, 16, {"grad_checkpoint": True}),
    (1024, 1, 8, {}),
    (1024, 2, 8, {"grad_checkpoint": True}),
    (256, 2, 16, {"grad_accumulation": 4}),
    (256, 4, 16, {"lora_layers": 2}),
    (256, 4, 16, {"fine_tune_type": "dora"}),
    (256, 4, 16, {"fine_tune_type": "full", "learning_rate": 1e-5}),
)


@dataclass(frozen=True)
class EstimateConfig:
    models: str = option("tiny,builtin", "tiny, builtin, model folders or .gguf files, with commas between")
    json: Path | None = option(None, "write the result to this file")
    child: str | None = option(None, "internal: what this process measures")


def main(config: EstimateConfig) -> None:
    if config.child:
        print(json.dumps(_measure(json.loads(config.child))))
        return
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in config.models.split(","):
            print(f"\n{model}\n{'':<46}{'estimate':>9}{'measured':>9}{'':>7}   above the weights")
            for length, batch, rank, more in _GRID:
                case = {"model": tiny(Path(scratch)) if model == "tiny" else model, "length": length, "batch": batch}
                case |= {"settings": {"lora_rank": rank, **more}}
                guess, real = child({**case, "whole": False}), child({**case, "whole": True})
                options = " ".join(f"{name}={value}" for name, value in more.items())
                print(
                    f"{batch} x {length} tokens, rank {rank} {options:<22}"[:46].ljust(46)
                    + f"{guess['peak']:>9.0f}{real['peak']:>9.0f}{guess['peak'] / real['peak'] - 1:>+7.1%}"
                    + f"{guess['above'] / real['above'] - 1:>+10.1%}",
                    flush=True,
                )
                found.append({**case, "model": model, "estimate": guess, "measured": real})
    worst = max(abs(one["estimate"]["peak"] / one["measured"]["peak"] - 1) for one in found)
    print(f"\nFarthest from the measured peak: {worst:.1%}")
    if config.json:
        files.write_json(config.json, found)


def child(case: dict[str, Any]) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, "--child", json.dumps(case)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def _measure(case: dict[str, Any]) -> dict[str, float]:
    from finetune.backends import mlx
    from finetune.backends.mlx.runtime import mx
    from finetune.methods import METHODS, RowSource
    from finetune.models.encoder import ChatEncoder
    from finetune.models.examples import as_rows
    from finetune.models.find import find_model
    from finetune.models.loss_mask import Example

    folder = find_model(case["model"], lambda line: None).path
    draw, length = random.Random(0), case["length"]
    learned = length // 5
    rows = [
        Example([draw.randrange(1000, 40000) for _ in range(length)], [at >= length - learned for at in range(length)])
        for _ in range(case["batch"])
    ]
    config = TrainingConfig(batch_size=case["batch"], **case["settings"])
    if not case["whole"]:
        found = mlx.estimate_memory(
            folder, METHODS["sft"], config, as_rows(rows), as_rows(rows), mlx.device_memory().free
        )
        return {"peak": found.peak_mb, "above": found.peak_mb - found.weights_mb}
    model = mlx.load(folder, ChatEncoder(folder))
    weights = mx.get_active_memory() / 1e6
    trainer: Any = mlx.Trainer(model, METHODS["sft"], RowSource(METHODS["sft"], as_rows(rows), config), config, 3, "")
    mx.reset_peak_memory()
    assert all(step.finite for step in trainer.run(lambda: False))
    peak = mx.get_peak_memory() / 1e6
    return {"peak": peak, "above": peak - weights}


def tiny(scratch: Path) -> str:
    """The folder of a small model with the tokenizer of the builtin one."""
    from finetune.backends.mlx.runtime import mx
    from finetune.models.find import find_model

    from mlx.utils import tree_flatten  # isort: skip
    from mlx_lm.models import llama  # isort: skip

    folder = scratch / "tiny"
    if folder.exists():
        return str(folder)
    folder.mkdir()
    builtin = find_model("builtin", lambda line: None).path
    for path in builtin.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((builtin / "config.json").read_text())
    config |= {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "head_dim": 16}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    (folder / "config.json").write_text(json.dumps(config))
    network = llama.Model(llama.ModelArgs.from_dict(config))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(network.parameters())))
    return str(folder)


if __name__ == "__main__":
    command_line.run(main, EstimateConfig)
