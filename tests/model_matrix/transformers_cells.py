"""The cells that need MLX and PyTorch in one process: models made and saved by transformers itself."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from finetune.backends.logits import CLOSE, SAME, largest
from finetune.backends.mlx import loading
from finetune.backends.mlx.model import load_network
from finetune.backends.mlx.runtime import mx
from finetune.commands import convert_adapter
from finetune.models.find import find_model
from finetune.records import files
from model_matrix import builders
from model_matrix.cells import Cell, wrong
from model_matrix.product import PROBE
from model_matrix.product import Case as OfMlx
from model_matrix.runs import quiet


class Case(OfMlx):
    """The same kind as transformers saves it."""

    @cached_property
    def model(self) -> Path:
        folder = self.folder / "saved"
        return folder if (folder / "config.json").exists() else builders.torch_build(self.kind, folder)

    def like_transformers(self) -> Cell:
        """Logits of what transformers saved: MLX against transformers. What differs must be refused, or told."""
        import numpy as np
        import torch
        from transformers import AutoModelForCausalLM

        folder = find_model(str(self.model), lambda line: None).path
        network, loaded = load_network(folder), loading.load(folder, quiet=True)
        other = AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.float32)
        with torch.no_grad():
            wanted = other(input_ids=torch.tensor(PROBE)).logits.float().numpy()
        off = largest(np.array(network(mx.array(PROBE)).tolist(), dtype=np.float32), wanted)
        if off <= SAME:
            return Cell("ok")
        why = f"logits off by {off:.0e} standard deviations"
        if off <= CLOSE:
            return Cell("close", f"{why}: an approximation of the same function")
        told = [note for note in (*loaded.notes, *loaded.theirs) if "something else" in note]
        return Cell("told", f"{why}: {told[0]}") if told else wrong(why)

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


COLUMNS: dict[str, Callable[[Case], Cell]] = {
    "like transformers": Case.like_transformers,
    "PEFT": Case.to_peft_and_back,
}
