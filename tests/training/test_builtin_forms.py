"""The builtin model, as it is and with the config.json that transformers 5 writes, is trained to the same last bit."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.models
def test_the_builtin_model_trains_to_the_same_adapters_in_both_forms_of_config(
    builtin_model: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file
    from transformers import AutoConfig

    again = tmp_path / "again"
    AutoConfig.from_pretrained(builtin_model).save_pretrained(again)
    config = json.loads((again / "config.json").read_text())
    assert "rope_theta" not in config and config["rope_parameters"]["rope_theta"] == 100000.0
    for path in builtin_model.iterdir():
        if path.name not in ("config.json", "conversion.json"):
            shutil.copyfile(path, again / path.name)

    def run(*arguments: object) -> None:
        command = [sys.executable, *map(str, arguments)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr

    def adapters(model: object, name: str) -> dict[str, Any]:
        sizes = ("--iters", 3, "--batch-size", 2, "--lora-rank", 4, "--max-seq-length", 256, "--show-samples", 0)
        run(ROOT / "train.py", "--dataset-type", "alpaca", "--model", model, "--adapter-path", name, *sizes)
        return load_file(tmp_path / name / "adapters.safetensors")

    run(ROOT / "dataset.py", "--type", "alpaca", "--dataset-name", "builtin", "--sample-size", 30)
    one, other = adapters("builtin", "one"), adapters(again, "other")
    assert one.keys() == other.keys() and any(array.any() for name, array in one.items() if name.endswith("lora_b"))
    assert all(array.tobytes() == other[name].tobytes() for name, array in one.items())
