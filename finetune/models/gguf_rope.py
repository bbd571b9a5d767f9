"""RoPE between GGUF and config.json: GGUF has keys and tensors of factors where config.json has ``rope_scaling``.

Llama 3's scaling is stored as its result, a factor for each wavelength. The four numbers that it came from are found again and
proven: the factors that they make must be those of the file.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finetune.errors import UserError, shortened
from finetune.models.gguf_file import Metadata, Tensor
from finetune.models.gguf_layout import ELSEWHERE, LONG_FACTORS, ROPE_FACTORS, SHORT_FACTORS, Architecture, Sizes

Config = dict[str, object]  # of config.json
_NEAR = 1e-5  # relative: the converter computes in float32


class Llama3(NamedTuple):
    """The numbers of Llama 3's scaling, as in config.json; wavelengths are counted in positions."""

    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192

    def factors(self, theta: float, dimensions: int) -> list[float]:
        """The factor of each wavelength of a head with so many rotated dimensions: the tensor rope_freqs.weight."""
        found = []
        for wavelength in _wavelengths(theta, dimensions):
            turns = self.original_max_position_embeddings / wavelength
            share = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
            share = min(max(share, 0.0), 1.0)
            found.append(1 / ((1 - share) / self.factor + share))
        return found


def rope_config(
    metadata: Metadata,
    tensors: Mapping[str, Tensor],
    architecture: Architecture,
    sizes: Sizes,
) -> Config:
    """What config.json says of the RoPE.

    UserError for a scaling that the model's class in mlx-lm does not compute, or whose numbers cannot be found again.
    """
    config: Config = {"rope_theta": metadata.real(".rope.freq_base", architecture.theta)}
    rotated = metadata.integer(".rope.dimension_count", sizes.head, most=sizes.head)
    if rotated % 2 or (rotated != sizes.head and not architecture.rotates_partly):
        raise UserError(f"RoPE on only a part of each head ({rotated} of {sizes.head}) is not supported ({ELSEWHERE})")
    if rotated != sizes.head:
        config["partial_rotary_factor"] = rotated / sizes.head
    kind = metadata.text(".rope.scaling.type", "none")
    if ROPE_FACTORS in tensors and "llama3" in architecture.scalings:
        kind = _only("llama3", kind)
        scaling = _llama3(_factors(tensors, ROPE_FACTORS, rotated), float(str(config["rope_theta"])), rotated)
    elif LONG_FACTORS in tensors and "longrope" in architecture.scalings:
        kind = _only("longrope", kind)
        scaling = _longrope(metadata, tensors, rotated)
        config["original_max_position_embeddings"] = metadata.integer(".rope.scaling.original_context_length")
    else:
        scaling = _by_keys(metadata, kind, architecture)
    return config | ({"rope_scaling": scaling} if scaling else {})


def _only(kind: str, said: str) -> str:
    """``kind``, which the file shows by its tensors, if its keys do not say another: llama.cpp would apply both."""
    if said not in (kind, "none"):
        raise UserError(
            f"RoPE is scaled twice, by {shortened(said)!r} and by a tensor of factors: not supported ({ELSEWHERE})"
        )
    return kind


def _by_keys(metadata: Metadata, kind: str, architecture: Architecture) -> Config:
    if kind == "none":
        return {}
    if kind not in architecture.scalings or kind in ("llama3", "longrope"):  # those come with their tensors
        supported = ", ".join(architecture.scalings)
        raise UserError(f"RoPE scaling {shortened(kind)!r} is not supported (supported: {supported}; or {ELSEWHERE})")
    scaling: Config = {"rope_type": kind, "factor": metadata.real(".rope.scaling.factor")}
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = metadata.integer(".rope.scaling.original_context_length")
        for name in ("beta_fast", "beta_slow"):
            if (key := f".rope.scaling.yarn_{name}") in metadata:
                scaling[name] = metadata.real(key)
    return scaling


def _longrope(metadata: Metadata, tensors: Mapping[str, Tensor], rotated: int) -> Config:
    original, longest = metadata.integer(".rope.scaling.original_context_length"), metadata.integer(".context_length")
    scale = longest / original
    usual = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 and original > 1 else 1.0
    stored = metadata.real(".rope.scaling.attn_factor", 1.0)
    if not math.isclose(stored, usual, rel_tol=_NEAR):
        raise UserError(
            f"{metadata.name('.rope.scaling.attn_factor')} in the GGUF is {stored:g}, but {longest:,} positions made of"
            f" {original:,} give {usual:g}: mlx-lm and transformers compute the latter ({ELSEWHERE})"
        )
    long, short = _factors(tensors, LONG_FACTORS, rotated), _factors(tensors, SHORT_FACTORS, rotated)
    return {"rope_type": "longrope", "type": "longrope", "long_factor": long, "short_factor": short}


def _factors(tensors: Mapping[str, Tensor], name: str, rotated: int) -> list[float]:
    from gguf import GGMLQuantizationType, dequantize

    tensor = tensors.get(name)
    if tensor is None:
        raise UserError(f"the GGUF does not fit its architecture: {name} is missing (convert it again, or {ELSEWHERE})")
    if tensor.shape != (rotated // 2,) or tensor.kind != GGMLQuantizationType.F32:
        raise UserError(
            f"{name} is {tensor.kind.name}{list(tensor.shape)} instead of F32[{rotated // 2}] ({ELSEWHERE})"
        )
    values = [float(f"{value:.7g}") for value in dequantize(tensor.data, tensor.kind).ravel().tolist()]
    if not all(0 < value < math.inf for value in values):
        raise UserError(f"{name} holds values that are not positive numbers (the file is damaged)")
    return values


def _llama3(factors: Sequence[float], theta: float, dimensions: int) -> Config:
    """The scaling that makes ``factors``: that of Llama 3.1 to 3.3 if it does, else the one that its own numbers give."""
    if all(factor == 1 for factor in factors):
        return {}
    if min(factors) == max(factors):
        return {"rope_type": "linear", "factor": factors[0]}
    factor = max(factors)
    for numbers in (Llama3(factor), _solved(factors, theta, dimensions)):
        if numbers and all(
            math.isclose(one, other, rel_tol=_NEAR)
            for one, other in zip(numbers.factors(theta, dimensions), factors, strict=True)
        ):
            return {"rope_type": "llama3", **numbers._asdict()}
    raise UserError(
        f"{ROPE_FACTORS}: no scaling of Llama 3 makes these factors ({', '.join(f'{value:g}' for value in factors[:3])} ..."
        f" {factors[-1]:g}), and config.json has no other place for them ({ELSEWHERE})"
    )


def _solved(factors: Sequence[float], theta: float, dimensions: int) -> Llama3 | None:
    """The numbers by which the factors between 1 and the largest one grow: they lie on a line over the frequency.

    Only the ratios of the three numbers of positions count; with low_freq_factor = 1 they are complete.
    """
    largest = max(factors)
    between = [
        (1 / wavelength, (1 / factor - 1 / largest) / (1 - 1 / largest))
        for wavelength, factor in zip(_wavelengths(theta, dimensions), factors, strict=True)
        if 1 < factor < largest
    ]
    if len(between) < 2 or min(factors) < 1:
        return None
    (x1, y1), (x2, y2) = between[0], between[-1]
    slope = (y2 - y1) / (x2 - x1)
    low = -(y1 - slope * x1)  # share = positions / wavelength / (high - low) - low / (high - low)
    if low <= 0 or slope <= 0:
        return None
    original = round(slope / low)
    return Llama3(largest, 1.0, float(f"{1 + 1 / low:.4g}"), original) if original > 0 else None


def _wavelengths(theta: float, dimensions: int) -> list[float]:
    return [2 * math.pi * theta ** (dimension / dimensions) for dimension in range(0, dimensions, 2)]
