"""A tiny model learns to answer "yes." with the chat template of each family, and is judged as users judge theirs.

``python tests/learned_answers.py TEMPLATE_FOLDER [NAME ...]`` takes the true templates of trl's ``chat_templates`` and prints a
table: right answers of 18 before and after, and how many the model ended itself. Every template must come to 18 of 18.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
NAMES = ("qwen3_instruct_2507", "qwen3", "qwen3_5_think", "glm4moe", "gptoss", "deepseek_r1_distill", "nemotron_3_nano")
ROWS, STEPS = 120, 80


class Learned(NamedTuple):
    name: str
    base: int  # right answers of the untrained model
    tuned: int
    of: int
    stopped: float  # share of the answers that the tuned model ended itself
    verdict: str | None


def write_model(folder: Path, tokenizer: Path, template: str) -> None:
    """A random Llama of two layers with the tokenizer of a model, the marks of the template and the template itself."""
    from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama
    from tokenizers import Tokenizer

    sys.path.insert(0, str(ROOT / "tests"))
    from template_table import add_marks

    folder.mkdir(parents=True)
    add_marks(tokenizer, template, folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "vocab_size": size,
    }
    config |= {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e4,
    }
    (folder / "config.json").write_text(
        json.dumps(config | {"max_position_embeddings": 2048, "tie_word_embeddings": True})
    )
    mx.random.seed(0)
    network = llama.Model(llama.ModelArgs.from_dict(config))
    weights = {name: array for name, array in tree_flatten(network.parameters()) if name != "lm_head.weight"}
    mx.save_safetensors(str(folder / "model.safetensors"), weights)


def learn(folder: Path, name: str) -> Learned:
    """Prepare, train and judge in ``folder``, which holds the model; with the scripts, as a user would."""
    rows = [{"prompt": f"Is {number} a number?", "completion": "yes."} for number in range(ROWS)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _run(folder, "dataset.py --type chat --dataset-name rows.jsonl --valid-fraction 0.05 --test-fraction 0.15")
    _run(
        folder,
        f"train.py --model model --iters {STEPS} --warmup 5 --learning-rate 1e-2 --lora-rank 16 --show-samples 0",
    )
    _run(folder, "test_finetuned.py --max-tokens 24 --no-general")
    found = json.loads((folder / "results" / "evaluation.json").read_text())
    base, tuned = found["base"], found["tuned"]
    return Learned(name, base["right"], tuned["right"], found["n"], tuned["stopped"], found["verdict"])


def _run(folder: Path, command: str) -> None:
    script, *arguments = command.split()
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr[-2000:]}")


def table(templates: Path, names: tuple[str, ...] = NAMES) -> Iterator[Learned]:
    """A line for each template of the folder."""
    from finetune.models.find import find_model

    tokenizer = find_model("builtin", print).path
    for name in names:
        folder = Path(tempfile.mkdtemp())
        write_model(folder / "model", tokenizer, (templates / f"{name}.jinja").read_text(encoding="utf-8"))
        yield learn(folder, name)
        shutil.rmtree(folder)


if __name__ == "__main__":
    where, *chosen = sys.argv[1:]
    print(f"{'template':<22} {'base':>8} {'tuned':>8}  ended  verdict")
    for one in table(Path(where), tuple(chosen) or NAMES):
        print(
            f"{one.name:<22} {one.base:>2} of {one.of:>2} {one.tuned:>2} of {one.of:>2}   {one.stopped:4.0%}  {one.verdict}"
        )
