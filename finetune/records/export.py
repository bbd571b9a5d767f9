"""export.json: what was written from which adapters, and every number that its checks found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from finetune.records.record import Record


@dataclass(frozen=True)
class ExportedFile:
    """A file of weights."""

    name: str  # its name in the folder
    size: int  # its bytes
    sha256: str  # hash of its content
    kind: str  # type of the weights: f32, f16, bf16, q8_0, ...
    tensors: Mapping[str, int] = field(default_factory=dict)  # type -> how many tensors have it; GGUF only
    kl: float | None = None  # KL divergence to the adapters in MLX, nats per token, mean over positions
    kl_to_f16: float | None = None  # the same to the file in F16 or F32
    kept: float | None = None  # share of the adapters' effect on the logits that is left, at most 1
    same_next: int | None = None  # positions whose most likely token is that of the adapters in MLX


@dataclass(frozen=True)
class Agreement:
    """How the fused folder's logits agree, in standard deviations of logits."""

    difference: float  # largest one between the folder, read again, and the adapters beside their model
    effect: float  # largest change by the adapters
    fused_by_mlx: float  # largest one to mlx-lm's own fusing, rounded in the same way
    transformers: float | None = None  # largest one between MLX and transformers with this folder; null: not compared


@dataclass(frozen=True)
class Consumer:
    """What llama.cpp did with the files, compared with the run."""

    name: str  # the program: xllamacpp or llama-server, with its version
    texts: int  # texts that it tokenised as in training
    prompts: int  # conversations of which its chat template made the tokens of the training
    positions: int  # positions at which the logits of the whole vocabulary were compared
    effect: float  # KL divergence between base and adapters in MLX, nats per token
    ends: int  # tokens that end an answer, and end it there too


@dataclass(frozen=True)
class ExportRecord(Record):
    """What is in an exported folder, and how it was checked."""

    FORMAT: ClassVar[int] = 1
    MADE_BY: ClassVar[str] = "python -m finetune export"
    FOLDER_FLAG = "--output"

    source: str  # folder of the adapters
    model: str  # model that they belong to, as it was named
    base: str  # fingerprint of its weights
    adapters: str  # what they are, in words
    adapters_sha256: str  # hash of their file
    template_sha256: str  # hash of the chat template of the training
    to: str  # model or gguf
    files: tuple[ExportedFile, ...]  # files of weights
    agreement: Agreement | None = None  # of a folder
    consumer: Consumer | None = None  # of GGUF files; null with --check none
    pre: str | None = None  # rule by which GGUF's tokenizer splits text
    context: int | None = None  # tokens of prompt and answer that the Modelfile allows
    dequantised: int = 0  # matrices that MLX had quantised
