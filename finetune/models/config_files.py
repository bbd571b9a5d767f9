"""What the JSON files beside a model's weights say of it."""

import json
from collections.abc import Mapping
from pathlib import Path

from finetune.models.foreign import AGAIN, foreign


def context_length(folder: Path) -> int | None:
    """The largest number of tokens, of prompt and answer together, that the model was made for; None if unknown."""
    config = _json(folder / "config.json")
    inner = config.get("text_config")
    length = {**config, **(inner if isinstance(inner, Mapping) else {})}.get("max_position_embeddings")
    return length if isinstance(length, int) and length > 0 else None


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
