"""Models of the true shapes with random weights, made on the device: speed and memory do not depend on what weights say."""

from dataclasses import dataclass
from typing import Any

_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@dataclass(frozen=True)
class Shape:
    name: str
    kind: str  # the module of mlx_lm.models
    hidden: int
    layers: int
    inner: int
    heads: int
    key_heads: int
    head_size: int
    vocabulary: int
    tied: bool = True
    bits: int | None = None  # of the layers' weights, in groups of 64; None: not quantised
    rope: float = 1e6
    rope_scaling: dict[str, Any] | None = None

    @property
    def linear(self) -> int:
        """Numbers in the matrices of the layers."""
        attention = self.hidden * self.head_size * 2 * (self.heads + self.key_heads)
        return self.layers * (attention + 3 * self.hidden * self.inner)

    @property
    def head(self) -> int:
        return self.hidden * self.vocabulary

    @property
    def weights_gb(self) -> float:
        """In bfloat16, or in so many bits with their scales and biases."""
        each = 2.0 if self.bits is None else self.bits / 8 + 2 * 2 / 64
        return (self.linear + self.head * (1 if self.tied else 2)) * each / 1e9

    def lora(self, rank: int) -> int:
        """Trained numbers with an adapter on every matrix of the layers."""
        queries, keys = self.heads * self.head_size, self.key_heads * self.head_size
        sides = [(self.hidden, queries), (queries, self.hidden), *[(self.hidden, keys)] * 2]
        sides += [(self.hidden, self.inner)] * 3
        return self.layers * rank * sum(a + b for a, b in sides)

    def training_flop(self, tokens: float, learned: float, rank: int) -> float:
        """Of the matrix products: forward and gradient of the input for each weight, LoRA's own gradients too; the head for the
        learned tokens alone. Attention between the tokens is not counted."""
        return 2 * (2 * self.linear + 3 * self.lora(rank)) * tokens + 2 * 2 * self.head * learned


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", "llama", 64, 2, 128, 4, 2, 16, 512),
        Shape("smollm2-135m", "llama", 576, 30, 1536, 9, 3, 64, 49152, rope=1e5),
        Shape("qwen3-0.6b", "qwen3", 1024, 28, 3072, 16, 8, 128, 151936),
        Shape("llama3.2-1b", "llama", 2048, 16, 8192, 32, 8, 64, 128256, rope=5e5, rope_scaling=_LLAMA3_ROPE),
        Shape("qwen3-4b", "qwen3", 2560, 36, 9728, 32, 8, 128, 151936),
        Shape("llama3.1-8b", "llama", 4096, 32, 14336, 32, 8, 128, 128256, tied=False, rope=5e5),
        Shape("llama3.1-8b-4bit", "llama", 4096, 32, 14336, 32, 8, 128, 128256, tied=False, bits=4, rope=5e5),
    )
}


def network_of(shape: Shape) -> Any:
    """The network of mlx-lm, in the precision of the backend, layer by layer so that no second copy is in memory."""
    from importlib import import_module

    from finetune.backends.mlx.runtime import DTYPE, mx

    import mlx.nn as nn  # isort: skip  after the runtime
    from mlx.utils import tree_map  # isort: skip

    module = import_module(f"mlx_lm.models.{shape.kind}")
    about = {
        "model_type": shape.kind,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "intermediate_size": shape.inner,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_heads,
        "head_dim": shape.head_size,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "rms_norm_eps": 1e-5,
        "rope_theta": shape.rope,
        "rope_scaling": shape.rope_scaling,
        "max_position_embeddings": 8192,
    }
    mx.random.seed(0)
    network = module.Model(module.ModelArgs.from_dict(about))
    for part in (*network.layers, network):
        part.update(tree_map(lambda a: a.astype(DTYPE) if a.dtype == mx.float32 else a, part.parameters()))
        if shape.bits is not None:
            nn.quantize(part, 64, shape.bits)
        mx.eval(part.parameters())
    network.freeze()
    return network
