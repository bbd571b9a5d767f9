"""The adapters beside their model in MLX, in float32: what the exported model has to compute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.backends import logits
from finetune.backends.mlx import adapters
from finetune.backends.mlx.model import load_network
from finetune.backends.mlx.runtime import mx
from finetune.errors import UserError, shell_command, shortened
from finetune.export.source import Source

Ids = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Reference:
    """A network and the switch of its adapters. Only one state is in use at a time."""

    network: Any
    switch: Callable[[Any], None]
    rows: int  # of the model's own logits

    def tuned(self, prompts: Ids) -> Any:
        """Logits with the adapters: float32[tokens of all prompts, vocabulary]"""
        self.switch("attached")
        return logits.mlx_logits(self.network, prompts)

    def base(self, prompts: Ids) -> Any:
        """Logits without the adapters. Tokens that only the adapters know must not be in the prompts."""
        self.switch("disabled")
        return logits.mlx_logits(self.network, prompts)

    def fused(self) -> Any:
        """The network with the adapters added into its weights, which are not quantised any more."""
        from mlx.utils import tree_unflatten
        from mlx_lm.utils import dequantize_model

        self.switch("attached")
        modules = [(name, module) for name, module in self.network.named_modules() if "lora_b" in module]
        self.network.update_modules(tree_unflatten([(name, module.fuse(dequantize=True)) for name, module in modules]))
        if any("scales" in module for module in self.network.modules()):
            return dequantize_model(self.network)
        return self.network


def reference(source: Source) -> Reference:
    """Load it. UserError (exit 3) if the adapters do not fit the model."""
    network = load_network(source.model, mx.float32)
    rows = int(network(mx.array([[0]])).shape[-1])
    switch = _of_parts(network, source) if source.of_peft else adapters.load(network, source.folder, source.base)
    network.eval()
    return Reference(network, switch, rows)


def _of_parts(network: Any, source: Source) -> Callable[[Any], None]:
    """Attach the adapters of PEFT as modules of mlx-lm, each with its own rank and scale."""
    from mlx_lm.tuner.dora import DoRALinear
    from mlx_lm.tuner.lora import LoRALinear

    modules, plain, adapted = dict(network.named_modules()), {}, {}
    for name, part in source.trained.parts.items():
        linear = modules.get(name)
        if linear is None or "weight" not in linear or part.a.ndim != 2:
            first = shell_command("python", "-m", "finetune", "convert-adapter", source.folder, "--to", "mlx")
            raise UserError(
                f"{source.trained.path}: mlx-lm has no module {shortened(name)} to compare with (convert it first, and export"
                f" that: {first} --output FOLDER)"
            )
        kind: Any = LoRALinear if part.m is None else DoRALinear
        made = kind.from_base(linear, r=part.a.shape[1], scale=part.scale)
        if made.lora_a.shape != part.a.shape or made.lora_b.shape != part.b.shape:
            raise UserError(f"{source.trained.path}: does not fit the model: {shortened(name)}", exit_code=3)
        made.lora_a, made.lora_b = mx.array(part.a), mx.array(part.b)
        if part.m is not None:
            made.m = mx.array(part.m)
        plain[name], adapted[name] = linear, made
    return adapters.Switch(network, {"attached": adapted, "disabled": plain})
