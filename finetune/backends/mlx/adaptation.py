"""What a run trains of a network: the modules that its settings choose, and the settings by which mlx_lm attaches the same."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.backends import lora_modules
from finetune.backends.lora_modules import Place
from finetune.backends.mlx import embeddings
from finetune.backends.mlx.adaptable import EXPERTS, Adaptable, adaptable, not_adaptable
from finetune.errors import UserError, shortened
from finetune.models.new_tokens import NewTokens
from finetune.settings.config import TrainingConfig

import mlx.nn as nn  # isort: skip  after the runtime

_WHOLE_BITS = (2, 4, 8)  # as many of them as fit into a word are a word


@dataclass(frozen=True)
class Adaptation:
    """What is trained: ``layers`` from the last on are reached by it, and ``modules`` get an adapter, ``experts`` of them one
    for each of their experts; none if layers are trained whole. ``notes``: what could not be adapted, a clause each.
    ``matrices``: what is trained of the embeddings."""

    settings: dict[str, object]  # adapter_config.json
    layers: int
    modules: int
    experts: int
    notes: list[str]
    matrices: embeddings.Trained | None = None


def adaptation(network: Any, config: TrainingConfig, new: NewTokens | None = None) -> Adaptation:
    """With the embeddings of ``new`` tokens. UserError, in the words of flags, if the model has no such modules or mlx_lm
    cannot adapt them so."""
    found, matrices = _of_layers(network, config), embeddings.trained(network, config, new)
    if matrices is None:
        return found
    return replace(found, settings={**found.settings, embeddings.KEY: matrices.as_json()}, matrices=matrices)


def _of_layers(network: Any, config: TrainingConfig) -> Adaptation:
    depth = len(network.layers)
    parameters: dict[str, object] = {
        "rank": config.lora_rank,
        "scale": config.lora_factor,
        "dropout": config.lora_dropout,
    }
    if config.fine_tune_type == "full":
        lora_modules.choose(config, [], depth)
        layers = config.lora_layers or depth
        if any(
            "scales" in module for layer in network.layers[-layers:] for module in layer.modules()
        ):  # of experts too
            raise UserError("--fine-tune-type full: a quantised model can only be adapted (use lora)")
        settings = {"fine_tune_type": "full", "num_layers": layers, "lora_parameters": parameters}
        return Adaptation(settings, layers, 0, 0, [])
    found = adaptable(network)
    chosen = lora_modules.choose(config, found.places, depth, found.barred)
    if config.fine_tune_type == "dora":
        _demand_dora(found, chosen)
    layers = config.lora_layers or depth
    keys = _keys(network, found, chosen, layers)
    if keys is not None:
        parameters["keys"] = keys
    return Adaptation(
        settings={"fine_tune_type": config.fine_tune_type, "num_layers": layers, "lora_parameters": parameters},
        layers=depth - min((place.layer for place in chosen), default=0),
        modules=len(chosen),
        experts=sum(isinstance(found.modules[place], EXPERTS) for place in chosen),
        notes=_notes(network, found, config),
    )


def _keys(network: Any, found: Adaptable, chosen: Sequence[Place], layers: int) -> list[str] | None:
    """What mlx_lm calls the chosen modules: None for all that it knows, their names within a layer, or their whole names."""
    last = range(len(network.layers) - layers, len(network.layers))
    names = {name for number in last for name, _ in network.layers[number].named_modules() if name}
    wanted = {place[:2] for place in chosen}

    def adapted(keys: set[str]) -> set[tuple[int, str]]:
        return {
            (number, name)
            for number in last
            for name, _ in network.layers[number].named_modules()
            if name in keys & names
        }

    if adapted({place.name for place in found.places}) == wanted:
        every = {place.name for place in chosen} == {place.name for place in found.places if place.layer in last}
        return None if every else sorted({place.name for place in chosen})
    inner = {place.name for place in chosen}
    return sorted(inner if adapted(inner) == wanted else {place.path for place in chosen})


def _demand_dora(found: Adaptable, chosen: Sequence[Place]) -> None:
    """UserError if mlx_lm has no DoRA for some of the chosen modules."""
    experts = [place for place in chosen if isinstance(found.modules[place], EXPERTS)]
    if experts:
        others = [place for place in chosen if place not in set(experts)]
        every = [place for place, module in found.modules.items() if isinstance(module, EXPERTS)]
        remedy = "use --fine-tune-type lora"
        if others:
            remedy += f", or adapt the rest: --lora-modules {lora_modules.without(others, every)}"
        named = shortened(", ".join(sorted({place.name for place in experts})), 200)
        raise UserError(f"--fine-tune-type dora: mlx-lm has no DoRA for experts ({named}) ({remedy})")
    for place in chosen:
        module = found.modules[place]
        if isinstance(module, nn.QuantizedEmbedding) or (
            isinstance(module, nn.QuantizedLinear) and module.bits not in _WHOLE_BITS
        ):
            raise UserError(
                f"--fine-tune-type dora: mlx-lm has no DoRA for modules of {module.bits} bits ({place.name})"
                " (use --fine-tune-type lora)"
            )


def _notes(network: Any, found: Adaptable, config: TrainingConfig) -> list[str]:
    notes = lora_modules.notes(config, found.places, found.barred)
    kinds = not_adaptable(network) if config.lora_modules == lora_modules.ALL else {}
    for kind in sorted(set(kinds.values())):
        of_kind = ", ".join(sorted(name for name in kinds if kinds[name] == kind))
        notes.append(f"not adapted: {shortened(of_kind, 200)}: mlx_lm has no adapters for a {kind}")
    return notes
