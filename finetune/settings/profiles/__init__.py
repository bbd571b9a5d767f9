"""Settings that suit a kind of task and a size of model: each YAML file beside this one is a profile, with its reasons."""

import math
import re
from pathlib import Path

_EVERY_SIZE = "every size"
_UNIT = {"m": 1e6, "b": 1e9}
_BUILTIN = 135e6
_DEFAULT = 270e6
_BYTES = {".safetensors": 2.0, ".gguf": 0.65}  # of a weight, as such files usually keep it

PROFILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yml"))}


def read(name: str, model: object) -> tuple[str, dict[str, object]]:
    """What a profile says for a model of this size, and the size it was written for. Sizes are compared as ratios."""
    import yaml

    sections = yaml.safe_load(PROFILES[name].read_text(encoding="utf-8"))
    size = parameters(model)
    sizes = {title: _size(title) or math.nan for title in sections if title != _EVERY_SIZE}
    nearest = min(sizes, key=lambda title: abs(math.log(sizes[title] / size)))
    values = {**sections[_EVERY_SIZE], **sections[nearest]}
    # YAML 1.1 takes 1e-3 for text
    return nearest, {key: float(value) if key == "learning_rate" else value for key, value in values.items()}


def parameters(model: object) -> float:
    """About how many a model has, by its name, else by its files: good enough to choose among sizes.

    What is no model is refused by whoever looks for it, not here.
    """
    if not isinstance(model, str):
        return _DEFAULT
    if model == "builtin":
        return _BUILTIN
    if (size := _size(model)) and math.isfinite(size):
        return size
    try:
        path = Path(model).expanduser()
        files = list(path.glob("model*.safetensors")) if path.is_dir() else [path]
        return sum(file.stat().st_size / _BYTES.get(file.suffix, 2.0) for file in files if file.is_file()) or _DEFAULT
    except (OSError, RuntimeError, ValueError):
        return _DEFAULT


def _size(name: str) -> float | None:
    """SmolLM2-1.7B-Instruct: 1.7e9."""
    found = re.findall(r"(?<![a-z\d.])(\d+(?:\.\d+)?)([mb])(?![a-z\d])", name.rsplit("/", 1)[-1].lower())
    return float(found[-1][0]) * _UNIT[found[-1][1]] if found else None
