"""The weights in GGUF's layout: order of rows, what is added, and the type of each tensor. The inverse of models/gguf.py."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from finetune.errors import UserError, shortened
from finetune.export import weights
from finetune.export.gguf.keys import Described
from finetune.export.weights import Tensor
from finetune.models.gguf_layout import OUTSIDE

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGMLQuantizationType

_REAL = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
_SMALL = ("q5_1", "q5_0", "q4_1", "q4_0")  # of these the embeddings and the output matrix, which hold words, are q8_0
_WORDS = ("token_embd.weight", "output.weight")
_PREFIXES = ("language_model.", "model.language_model.")  # of the text part of a model that sees
_OF_SIGHT = ("vision_tower", "vision_model", "multi_modal_projector", "embed_vision")
_BUFFERS = ("rotary_emb.inv_freq",)


@dataclass(frozen=True)
class Laid:
    """A tensor of the file. ``head``: the two halves of the rows of each head of this size alternate; 1 if they do not.
    ``added`` is added to every number."""

    name: str
    source: Tensor
    head: int = 1
    added: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    def pieces(self) -> "Iterator[np.ndarray]":
        """Its rows in float32, some at a time."""
        for values in self.source.pieces(self.head):
            made = values + self.added if self.added else values
            if self.head > 1:
                halves = made.reshape(-1, 2, self.head // 2, math.prod(self.shape[1:]))
                made = halves.swapaxes(1, 2).reshape(made.shape)
            yield made

    def kind(self, type_: str) -> "GGMLQuantizationType":
        """Its type in a file of type ``type_``: vectors and norms are F32, and rows that no block fits F16."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        if len(self.shape) == 1 or self.name.endswith("_norm.weight"):
            return GGMLQuantizationType.F32
        wanted = "q8_0" if type_ in _SMALL and self.name in _WORDS else type_
        found = GGMLQuantizationType[wanted.upper()]
        return found if self.shape[-1] % GGML_QUANT_SIZES[found][0] == 0 else GGMLQuantizationType.F16

    def encoded(self, type_: str) -> Iterator[bytes]:
        """Its bytes in such a file. UserError for numbers that are not finite or too large for F16."""
        import numpy as np
        from gguf import quantize

        kind = self.kind(type_)
        for values in self.pieces():
            if kind.name in ("F32", "F16", "BF16"):
                yield weights.rounded(values, kind.name, self.name).tobytes()
            else:
                exact = weights.rounded(np.ascontiguousarray(values), "F32", self.name)
                yield quantize(exact, kind).tobytes()

    def size(self, type_: str) -> int:
        """The bytes of ``encoded``."""
        from gguf import GGML_QUANT_SIZES

        values, size = GGML_QUANT_SIZES[self.kind(type_)]
        return self.source.count // values * size


def laid_out(tensors: Sequence[Tensor], about: Described) -> list[Laid]:
    """The tensors of a fused model as those of its GGUF file. UserError that lists what does not fit the architecture."""
    named = {_text_name(one.name): one for one in tensors if not _is_left_out(one.name)}
    expected = _expected(about)
    problems = [f"{shortened(name)} is unknown" for name in named.keys() - {target for target, _ in expected.values()}]
    found = []
    for name, (target, dimensions) in expected.items():
        shape = tuple(about.sizes[dimension] for dimension in dimensions)
        if target not in named:
            problems.append(f"{target} is missing")
        elif named[target].shape != shape:
            problems.append(f"{target} has the shape {named[target].shape} instead of {shape}")
        else:
            found.append(_laid(name, named[target], about))
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UserError(
            f"--to gguf: the model's weights do not fit GGUF's {about.name}: {'; '.join(sorted(problems)[:4])}{more}"
        )
    return found + [_factors(name, values) for name, values in about.factors.items()]


def _text_name(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            inner = name.removeprefix(prefix)
            return inner if inner.startswith(("model.", "lm_head.")) else f"model.{inner}"
    return name


def _is_left_out(name: str) -> bool:
    return any(part in name for part in _OF_SIGHT) or name.endswith(_BUFFERS)


def _expected(about: Described) -> Mapping[str, tuple[str, tuple[str, ...]]]:
    """GGUF name -> name in the model's files, and the shape in terms of ``Sizes``."""
    found = dict(OUTSIDE)
    if about.sizes.tied:
        del found["output.weight"]
    layer = dict(about.architecture.layer)
    for flag, group in about.architecture.optional.items():
        if about.flags.get(flag):
            layer |= group
    for index in range(about.sizes.layers):
        for name, (target, dimensions) in layer.items():
            found[f"blk.{index}.{name}"] = (f"model.layers.{index}.{target}", dimensions)
    return found


def _laid(name: str, tensor: Tensor, about: Described) -> Laid:
    is_turned = about.architecture.interleaves_heads and name.split(".")[-2] in ("attn_q", "attn_k")
    adds = about.architecture.adds_one_to_norms and name.endswith("norm.weight")
    return Laid(name, tensor, about.sizes.head if is_turned else 1, int(adds))


def _factors(name: str, values: Sequence[float]) -> Laid:
    import numpy as np

    array = np.array(values, np.float32)
    return Laid(name, Tensor(name, "F32", array.shape, lambda start, stop: array[start:stop]))


def kinds_of(tensors: Sequence[Laid], type_: str) -> dict[str, int]:
    """Type -> how many tensors of such a file have it."""
    return dict(Counter(one.kind(type_).name.lower() for one in tensors))
