"""What the JSON files beside a model's weights say of it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune.models.foreign import AGAIN, foreign

# what types call it; the first that a config.json has counts
_LENGTHS = (
    *("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "max_seq_length"),
    *("seq_length", "model_max_length"),
)
_TABLE = re.compile(r"(^|.*\.)(wpe|embed_positions|position_embeddings?|pos_embed|wpe\.wpe)\.weight")
_TABLE_TYPES = {"gpt2", "gpt_bigcode", "gpt_neo", "opt", "biogpt", "xglm", "codegen2"}
_OFFSETS = {"opt": 2, "biogpt": 2}  # rows of the table before position 0
_MOST_HEADER = 100 << 20  # bytes of a safetensors header, as its own library allows


@dataclass(frozen=True)
class Positions:
    """How many tokens, of prompt and answer together, a model was made for.

    ``table``: it learned a vector for each position, and has none beyond. Else it computes on with less and less sense.
    """

    count: int
    table: bool


def positions(folder: Path) -> Positions | None:
    """The positions of a model; None if its files do not say. A table of positions counts as it lies in the weights."""
    config = _json(folder / "config.json")
    inner = config.get("text_config")
    text = {**config, **(inner if isinstance(inner, Mapping) else {})}
    kind = str(text.get("model_type"))
    rows = min(_tables(folder), default=None) if kind in _TABLE_TYPES or not _has_rope(text) else None
    if rows is not None:
        return Positions(max(1, rows - _OFFSETS.get(kind, 0)), table=True)
    lengths = (text[name] for name in _LENGTHS if type(text.get(name)) is int and text[name] > 0)
    found = max(next(lengths, 0), _stretched(text))
    return Positions(found, kind in _TABLE_TYPES) if found else None


def context_length(folder: Path) -> int | None:
    """The largest number of tokens, of prompt and answer together, that the model was made for; None if unknown."""
    found = positions(folder)
    return found.count if found else None


def _has_rope(text: Mapping[str, object]) -> bool:
    return any(name.startswith(("rope_", "rotary_")) for name in text)


def _stretched(text: Mapping[str, object]) -> int:
    """The length that YaRN stretches RoPE to; 0 without it. Other kinds are included in the model's own number."""
    for name in ("rope_parameters", "rope_scaling"):
        rope = text.get(name)
        rope = rope.get("full_attention", rope) if isinstance(rope, Mapping) else None
        if isinstance(rope, Mapping) and rope.get("rope_type", rope.get("type")) == "yarn":
            original, factor = rope.get("original_max_position_embeddings"), rope.get("factor")
            if isinstance(original, int) and isinstance(factor, (int, float)) and 1 <= factor < 10**4:
                return int(original * factor)
    return 0


def _tables(folder: Path) -> Iterator[int]:
    """The rows of each table of positions in the weights; nothing if they are not there, or damaged."""
    for path in folder.glob("model*.safetensors"):
        try:
            with path.open("rb") as file:
                header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), _MOST_HEADER)))
            shapes = {name: about["shape"] for name, about in header.items() if _TABLE.fullmatch(name)}
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            continue  # whoever loads the weights says what is wrong with them
        yield from (shape[0] for shape in shapes.values() if len(shape) == 2)


def vocabulary(folder: Path) -> int | None:
    """How many token ids the model knows; None if its config.json does not say."""
    config = _json(folder / "config.json")
    inner = config.get("text_config")
    size = (inner if isinstance(inner, Mapping) else config).get("vocab_size", config.get("vocab_size"))
    return size if isinstance(size, int) and size > 0 else None


def begins_texts(folder: Path) -> bool:
    """Whether a model's texts begin with its beginning-of-sequence token: tokenizer_config.json says so, or it is a Gemma,
    which is lost without."""
    if _json(folder / "tokenizer_config.json").get("add_bos_token") is True:
        return True
    return "gemma" in str(_json(folder / "config.json").get("model_type", ""))


def end_tokens(folder: Path) -> list[int]:
    """The end-of-sequence token ids in generation_config.json; a model can have several."""
    ids = _json(folder / "generation_config.json").get("eos_token_id")
    return [token for token in (ids if isinstance(ids, list) else [ids]) if isinstance(token, int)]


def _json(path: Path) -> Mapping[str, object]:
    """The mapping in a JSON file of the model; empty if it has no such file. UserError if it is anything else."""
    if not path.exists():
        return {}
    with foreign(f"{path}: cannot be read", AGAIN):
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise TypeError("it is not a JSON object")
        return value
