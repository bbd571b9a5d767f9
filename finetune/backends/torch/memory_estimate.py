"""What a model of PyTorch holds, and steps on its first layers: what ``backends.memory_estimate`` extrapolates from.

Sizes are those of a model on PyTorch's meta device, which has no memory; the short models are filled with a constant.
"""

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM

from finetune.backends import lora_modules
from finetune.backends import memory_estimate as scaling
from finetune.backends.memory_estimate import STEPS, Measured, Sizes, first_layers, measure_steps, text_config
from finetune.backends.torch import adapters
from finetune.backends.torch.memory import memory_mb, reset_peak_memory
from finetune.backends.torch.model import TorchModel, refuse_unread
from finetune.backends.torch.runtime import device, dtype, quiet, torch
from finetune.backends.torch.training import Trainer, optimizer
from finetune.errors import UserError, first_line
from finetune.methods import Method
from finetune.methods.batches import BatchSource
from finetune.models import tokenizer
from finetune.models.foreign import foreign
from finetune.settings.config import TrainingConfig
from finetune.signals import never


class Probe:
    def sizes(self, folder: Path, config: TrainingConfig) -> Sizes:
        network = _network(folder, "meta")
        weights, parameters = _bytes(network.parameters()), sum(tensor.numel() for tensor in network.parameters())
        lora, chosen = adapters.settings(network, config), adapters.chosen(network, config)
        notes, depth = adapters.notes(network, config), network.config.get_text_config().num_hidden_layers
        with torch.device("meta"):
            model = adapters.attach(network, lora)
        trained = [tensor for tensor in model.parameters() if tensor.requires_grad]
        sides = [max(t.shape) for name, t in model.named_parameters() if ".lora_A." in name or ".lora_B." in name]
        kinds = text_config(folder).get("layer_types")
        return Sizes(
            layers=depth,
            thinnest=min(sides, default=None),
            parameters=parameters,
            trainable=adapters.count(model),
            weights=weights,
            adapters=_bytes(trained),
            optimizer=_optimizer_bytes(trained, config),
            period=max(kinds.index(kind) for kind in kinds) + 1 if kinds else 1,
            trained=depth - min(place.layer for place in chosen),
            modules=len(chosen),
            notes=tuple(notes),
        )

    def weights(self, folder: Path, layers: int) -> int:
        return _bytes(_network(folder, "meta", layers).parameters())

    def measured(
        self, folder: Path, method: Method, config: TrainingConfig, layers: int, source: BatchSource
    ) -> Measured:
        """Steps on the first ``layers`` layers, trained as far as the settings say."""
        try:
            network = _network(folder, device(), layers)
            with torch.no_grad():
                for tensor in network.parameters():
                    tensor.fill_(0.01)
            encoder: Any = SimpleNamespace(tokenizer=_tokenizer(folder))
            with tempfile.TemporaryDirectory() as unused:  # Transformers makes the folder that it could write to
                config = lora_modules.for_first_layers(config, adapters.places(network), layers)
                config = replace(config, adapter_path=Path(unused))
                trainer = Trainer(TorchModel(network, encoder), method, source, config, STEPS, "")
            gc.collect()
            reset_peak_memory()
            held = memory_mb()["active"]

            def peak() -> float:
                found = memory_mb()["peak"] - held
                reset_peak_memory()
                return found * 1e6

            return measure_steps(layers, lambda on_step: trainer.train(never, on_step), peak)
        except (
            IndexError,
            ValueError,
            RuntimeError,
        ) as error:  # sizes that contradict each other fail only when they meet
            raise UserError(f"{folder}: PyTorch cannot run this model: {first_line(error)}") from None


def _network(folder: Path, where: Any, layers: int | None = None) -> Any:
    """The model of the folder, or its first layers, its weights not loaded."""
    quiet()
    refuse_unread(folder)
    with foreign(f"{folder}: PyTorch cannot load this model"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for name, value in (first_layers(folder, layers) if layers is not None else {}).items():
            setattr(config.get_text_config(), name, value)
        with torch.device(where):
            network = AutoModelForCausalLM.from_config(config, dtype=dtype(), trust_remote_code=False)
            return network.requires_grad_(requires_grad=False)


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _optimizer_bytes(trained: Sequence[Any], config: TrainingConfig) -> int:
    """Found by one step of the optimizer on tensors that have no memory."""
    copies = [torch.nn.Parameter(torch.empty_like(tensor, device="meta")) for tensor in trained]
    for copy in copies:
        copy.grad = torch.empty_like(copy)
    chosen = optimizer(torch.nn.ParameterList(copies), config)
    chosen.step()
    return _bytes(value for state in chosen.state.values() for value in state.values() if torch.is_tensor(value))


estimate_memory, static_mb = partial(scaling.estimate_memory, Probe()), partial(scaling.static_mb, Probe())


def _tokenizer(folder: Path) -> Any:
    """The model's tokenizer; TRL wants one even of a folder that holds a configuration alone, which uses none."""
    if any(folder.glob("tokenizer*")):
        return tokenizer.load(folder)
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<eos>": 0}, unk_token="<eos>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<eos>")
