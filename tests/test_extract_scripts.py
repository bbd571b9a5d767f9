"""The commands of docs/guides/extract.md, one after the other, on its rows; training and answers are cut short."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.records.dataset import DatasetRecord
from finetune.records.evaluation import EvaluationRecord
from invoices import write

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guides" / "extract.md"
SHORT = {
    "train.py": "--model {model} --iters 2 --batch-size 1 --steps-per-eval 2 --warmup 0",
    "test_finetuned.py": "--num-samples 2 --max-tokens 12 --no-general",
}


@pytest.mark.models
def test_the_guide_from_rows_to_a_verdict(tiny_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("llguidance", reason="llguidance is not installed (run: make setup)")
    write(tmp_path)
    fields = {"sku": "string", "description": "string", "quantity": "integer", "unit": "string", "unit_price": "number"}
    schema = {name: {"type": kind} for name, kind in {**fields, "vat": "integer", "total": "number"}.items()}
    (tmp_path / "invoice.json").write_text(json.dumps({"type": "object", "properties": schema, "required": [*schema]}))
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    commands = list(dict.fromkeys(line for block in blocks[1:] for line in block.splitlines()))
    assert len(commands) == 5
    for command in commands:
        python, script, *flags = shlex.split(command)
        assert python == "python"
        if "--iters" in flags:
            del flags[(at := flags.index("--iters")) : at + 2]
        words = [sys.executable, str(ROOT / script), *flags, *SHORT.get(script, "").format(model=tiny_model).split()]
        done = subprocess.run(
            words, cwd=tmp_path, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        if "--fields" in flags:  # the output that the guide shows
            shown = re.search(
                r"^```\n(extract rows.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
            )
            assert shown and done.stdout == shown[1]
    record = EvaluationRecord.read(tmp_path / "results" / "evaluation.json")
    assert record.fields and [field.name for field in record.fields[:7]] == [*schema]
    assert record.restricted and record.restricted.base and len(record.restricted.tuned.answers) == 2
    assert DatasetRecord.read(tmp_path / "data" / "dataset.json").system
