"""Where a setting's value comes from: flags, then the --config file, then the profile, then the mode, then the default."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from finetune.errors import path_of
from finetune.settings import config_file, mlx_lm, profiles, yaml_file
from finetune.settings.config import CLASSIFY_SPLITS, SECTIONS, DatasetConfig, FileConfig, TrainingConfig
from finetune.settings.fields import Layer, plain
from finetune.settings.modes import METHOD_MODES, MODES, Values

MUTUALLY_EXCLUSIVE = (  # of each pair one value can count
    ("quick_test", "conservative"),
    ("epochs", "iters"),
    ("lora_alpha", "lora_scale"),
    ("compare", "against"),
    ("strict", "fix"),
)


def file_layers(config_class: type[FileConfig], explicit: Mapping[str, object]) -> list[Layer]:
    """The layers of the YAML file of ``--config``, strongest first; train.py can also read a file written for mlx_lm.lora.

    ``explicit``: the flags that were given, by field name. UserError names the file and the line.
    """
    layers: list[Layer] = []
    if "config" in explicit:
        path = path_of(str(explicit["config"]), "--config")
        document = yaml_file.read(path)
        if config_class is TrainingConfig and mlx_lm.recognised(document):
            layers = mlx_lm.layers(path, document, explicit)
        else:
            own = next(name for name, of_section in SECTIONS.items() if of_section is config_class)
            layers = config_file.layers(path, document, own, SECTIONS)
    if config_class is DatasetConfig and strongest([("flag", explicit), *layers], "type_") == "classify":
        layers = [*layers, ("--type classify", CLASSIFY_SPLITS)]
    return without_overridden(explicit, layers)


def training_layers(
    explicit: Mapping[str, object], recorded: Callable[[Sequence[Layer]], Iterable[Layer]] = lambda given: ()
) -> list[Layer]:
    """All layers of train.py below the flags, strongest first.

    ``recorded`` gives the layers that the run in ``--from-adapter`` brings with it, from those of the flags and the file. They
    are weaker than these and stronger than the profile, which so suits the size of the recorded model.
    """
    own: list[Layer] = [("flag", explicit)]
    inherited = file_layers(TrainingConfig, explicit)
    own += inherited[:1]  # what the file itself says; below it, what nobody gave
    given = [*own, *recorded(own), *inherited[1:]]
    layers = given[1:]
    profile = strongest(given, "profile")
    if isinstance(profile, str) and profile in profiles.PROFILES:
        size, values = profiles.read(profile, strongest(given, "model"))
        layers.append((f"{profile} profile, {size}", values))
    layers.append(_mode(given))
    return without_overridden(explicit, layers)


def strongest(layers: Sequence[Layer], name: str) -> object:
    """The value of the strongest layer that has one; None if none has."""
    return next((plain(layer[name]) for _, layer in layers if name in layer), None)


def without_overridden(explicit: Mapping[str, object], layers: Sequence[Layer]) -> list[Layer]:
    """``layers`` without the values whose counterpart in ``MUTUALLY_EXCLUSIVE`` stands in a stronger layer."""
    gone: set[str] = set()
    result: list[Layer] = []
    for origin, layer in [("flag", explicit), *layers]:
        result.append((origin, {name: value for name, value in layer.items() if name not in gone}))
        for pair in MUTUALLY_EXCLUSIVE:
            for one, other in (pair, pair[::-1]):
                if plain(result[-1][1].get(one)) not in (None, False):
                    gone.add(other)
    return result[1:]


def _mode(layers: Sequence[Layer]) -> Layer:
    """What the mode changes that these layers ask for; none asked for is the standard mode."""
    quick, conservative = (strongest(layers, name) for name in ("quick_test", "conservative"))
    mode = "quick" if quick else "conservative" if conservative else "standard"
    method = strongest(layers, "method")
    of_method: Values = METHOD_MODES[method][mode] if isinstance(method, str) and method in METHOD_MODES else {}
    return f"{mode} mode" + (f", {method}" if of_method else ""), {**MODES[mode], **of_method}
