"""The cells that need PyTorch: models made and saved by transformers itself, in a process of their own."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import test_finetuned as evaluate_script
import train as train_script
from finetune.backends.mlx.model import load_network
from finetune.backends.mlx.runtime import mx
from finetune.commands import convert_adapter
from finetune.models.find import find_model
from finetune.records import files
from finetune.settings.config import EvaluationConfig, TrainingConfig
from model_matrix import builders
from model_matrix.cells import Cell, wrong
from model_matrix.product import MAX_TOKENS, PROBE, Case, configured, quiet

_LOGITS = 1e-3  # in standard deviations


class TorchCase(Case):
    """The same kind as transformers saves it."""

    @cached_property
    def model(self) -> Path:
        folder = self.folder / "saved"
        return folder if (folder / "config.json").exists() else builders.torch_build(self.kind, folder)

    def like_transformers(self) -> Cell:
        """Logits of what transformers saved: MLX against transformers."""
        import torch
        from transformers import AutoModelForCausalLM

        network = load_network(find_model(str(self.model), lambda line: None).path)
        found = network(mx.array(PROBE)).tolist()
        other = AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.float32)
        with torch.no_grad():
            wanted = other(input_ids=torch.tensor(PROBE)).logits.float()
        off = float((torch.tensor(found) - wanted).abs().max() / wanted.std())
        return Cell("ok") if off <= _LOGITS else wrong(f"logits off by {off:.0e} standard deviations")

    def to_peft_and_back(self) -> Cell:
        source, peft, back = (self.folder / f"{self.kind} {name}" for name in ("torch lora", "peft", "mlx"))
        if not source.exists():
            self._adapter(source, "lora")
        settings = json.loads((source / files.ADAPTER_CONFIG).read_text())
        (source / files.ADAPTER_CONFIG).write_text(json.dumps({**settings, "model": str(self.model)}))
        arrays = dict(mx.load(str(source / files.ADAPTERS)))
        mx.save_safetensors(str(source / files.ADAPTERS), arrays)  # without the fingerprint of a made-up base
        with quiet():
            convert_adapter.main(convert_adapter.Config(source, "peft", peft))
            convert_adapter.main(convert_adapter.Config(peft, "mlx", back))
        again = dict(mx.load(str(back / files.ADAPTERS)))
        same = again.keys() == arrays.keys() and all(mx.array_equal(arrays[name], again[name]) for name in arrays)
        return Cell("ok") if same else wrong("the arrays are others after the way there and back")

    def on_torch(self) -> Cell:
        flags = self.flags("torch run", backend="torch", lora_dropout=0.0)
        with quiet():
            train_script.main(configured(TrainingConfig, **flags))
            evaluate_script.main(
                configured(
                    EvaluationConfig,
                    adapter_path=flags["adapter_path"],
                    results_dir=self.folder / "torch results",
                    max_tokens=MAX_TOKENS,
                    general=False,
                )
            )
        return Cell("ok")


TORCH_COLUMNS: dict[str, Callable[[Any], Cell]] = {
    "like transformers": TorchCase.like_transformers,
    "PEFT": TorchCase.to_peft_and_back,
    "torch": TorchCase.on_torch,
}
