"""Answers that cannot be any text: the mask holds, alone and in a batch, and a grammar gives objects of its schema."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
from finetune.backends.mlx.decoding import Decoder
from finetune.backends.mlx.model import load
from finetune.models.constraint import allowed_rows
from finetune.models.encoder import ChatEncoder
from finetune.tasks.extract.fits import problems
from finetune.tasks.extract.grammar import grammar_schema
from finetune.tasks.extract.objects import written
from finetune.tasks.extract.schema import root_of

STOP = 7


class Ladder:
    """Allows tokens of one remainder, one rung higher at each step; after ``rungs`` the answer ends."""

    def __init__(self, begin: int, rungs: int, vocabulary: int = 50):
        self.begin, self.rungs, self.vocabulary, self.taken = begin, rungs, vocabulary, list[int]()

    def allowed(self) -> Any:
        mask = np.zeros(self.vocabulary, np.bool_)
        if len(self.taken) < self.rungs:
            mask[np.arange(self.vocabulary) % 5 == (self.begin + len(self.taken)) % 5] = True
            mask[STOP] = False
        return mask  # nothing can follow: the answer ends

    def accept(self, token: int) -> None:
        assert token % 5 == (self.begin + len(self.taken)) % 5 and token != STOP
        self.taken.append(token)


def _network() -> Any:
    from mlx_lm.models import llama

    settings = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 4}
    settings |= {"num_key_value_heads": 2, "vocab_size": 64, "rms_norm_eps": 1e-5, "model_type": "llama"}
    mx.random.seed(1)
    network = llama.Model(llama.ModelArgs.from_dict(settings))
    network.eval()
    return network


def _answers(network: Any, prompts: Sequence[Sequence[int]], most: int = 9) -> dict[int, tuple[list[int], bool]]:
    """Answer n may be n + 3 tokens long."""
    decoder = Decoder(network, frozenset({STOP}), most, restrict=lambda index: Ladder(index, index % 8 + 3))
    return {one.index: (one.tokens, one.stopped) for one in decoder.run(prompts)}


def test_a_batch_is_masked_as_each_answer_alone() -> None:
    network, draws = _network(), random.Random(0)
    prompts = [[draws.randrange(50) for _ in range(4 + at % 7)] for at in range(24)]
    together = _answers(network, prompts)
    for index, prompt in enumerate(prompts):
        decoder = Decoder(network, frozenset({STOP}), 9, restrict=lambda _, at=index: Ladder(at, at % 8 + 3))
        (alone,) = decoder.run([prompt])
        assert together[index] == (alone.tokens, alone.stopped)
        assert len(alone.tokens) == min(9, index % 8 + 3) and alone.stopped == (index % 8 + 3 < 9)
        assert all(token < 50 and token % 5 == (index + at) % 5 for at, token in enumerate(alone.tokens))


def test_what_is_masked_is_the_whole_vocabulary_of_the_logits() -> None:
    found = allowed_rows([Ladder(0, 1), None, Ladder(0, 0)], 64, frozenset({STOP, 99}))
    assert found.shape == (3, 64) and found[1].all() and found[2].nonzero()[0].tolist() == [STOP]
    assert set(found[0].nonzero()[0]) == {n for n in range(50) if n % 5 == 0}


SCHEMA = {
    "type": "object",
    "properties": {
        "sku": {"type": "string", "maxLength": 6},
        "unit": {"type": "string", "enum": ["pcs", "kg"]},
        "paid": {"type": "boolean"},
        "due": {"type": ["string", "null"], "format": "date"},
    },
    "required": ["sku", "unit", "paid", "due"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("folder", ["tiny_model", "tiny_gemma"])
def test_a_random_model_writes_objects_of_the_schema(folder: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("llguidance", reason="llguidance is not installed (run: make setup)")
    from finetune.models.grammar import JsonGrammar

    path: Path = request.getfixturevalue(folder)
    encoder = ChatEncoder(path)
    grammar, model = JsonGrammar(encoder), load(path, encoder)
    asked = [[{"role": "user", "content": f"{'x ' * at}line"}] for at in range(6)]
    answers = model.answers(asked, max_tokens=48, restrict=lambda index: grammar.constraint(SCHEMA))
    for conversation, answer in zip(asked, answers, strict=True):
        found = json.loads(answer.text)
        assert answer.stopped and list(found) == ["sku", "unit", "paid", "due"] and found["unit"] in ("pcs", "kg")
        assert json.dumps(found, ensure_ascii=False, separators=(",", ":")) == answer.text or "\\" in answer.text
        (alone,) = model.answers([conversation], max_tokens=48, restrict=lambda index: grammar.constraint(SCHEMA))
        assert alone.text == answer.text
    (cut,) = model.answers(asked[:1], max_tokens=3, restrict=lambda index: grammar.constraint(SCHEMA))
    assert not cut.stopped and cut.tokens == 3


@pytest.fixture(scope="module")
def grammar(builtin_model: Path) -> Any:
    pytest.importorskip("llguidance", reason="llguidance is not installed (run: make setup)")
    from finetune.models.grammar import JsonGrammar

    return JsonGrammar(ChatEncoder(builtin_model))


@pytest.mark.parametrize(
    ("part", "fits", "fails"),
    [
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äöü"], ["a", "abcd"]),
        ({"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$"}, ["AB-12"], ["ab-12"]),
        ({"type": "string", "format": "date"}, ["2024-02-29"], ["29.02.2024"]),
        ({"type": "string", "format": "date-time"}, ["2024-02-29T10:00:00Z"], ["2024-02-29"]),
        ({"type": "string", "format": "time"}, ["10:00:00Z"], ["10 o'clock"]),
        ({"type": "string", "format": "email"}, ["a@b.org"], ["a b"]),
        ({"type": "string", "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000"], ["123"]),
        ({"type": "string", "x-date-form": "%d.%m.%Y"}, ["29.02.2024", "1.3.2024"], ["2024-02-29"]),
        ({"type": "string", "x-date-form": "%B %d, %Y"}, ["March 5, 2024"], ["Mar 5, 2024"]),
        ({"type": "integer", "minimum": 1, "maximum": 31}, [1, 31], [0, 32, 1.5]),
        ({"type": "number", "exclusiveMinimum": 0}, [0.5, 7], [0, -1]),
        ({"type": ["number", "null"]}, [11864.0, 1e22, None, -3], ["3", True]),
        ({"type": ["string", "null"], "enum": ["a", None]}, ["a", None], ["b"]),
        ({"enum": [1, "x", True]}, [1, "x", True], [2, "y", False]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2}, [[1], [1, 2]], [[], [1, 2, 3]]),
        ({"type": "array"}, [[], [1, "x", {"a": []}]], [{}]),
        (
            {"type": ["object", "string"], "properties": {"b": {"const": "z"}}},
            [{}, {"b": "z"}, "t"],
            [{"c": 1}, {"b": "y"}],
        ),
    ],
)
def test_the_grammar_holds_every_part_of_a_schema(grammar: Any, part: dict, fits: list, fails: list) -> None:
    """What the grammar allows is what the score says fits, for each feature that is known."""
    root = root_of({"type": "object", "properties": {"v": part}, "required": ["v"]})
    for value, expected in [*((value, True) for value in fits), *((value, False) for value in fails)]:
        assert (not list(problems({"v": value}, root))) == expected, value
        constraint, text = grammar.constraint(grammar_schema(root)), written({"v": value})
        assert _writes(constraint, grammar._encoder, text) == expected, value


def _writes(constraint: Any, encoder: ChatEncoder, text: str) -> bool:
    for token in encoder.tokenizer.encode(text, add_special_tokens=False):
        if not constraint.allowed()[token]:
            return False
        constraint.accept(token)
    return bool(constraint.allowed()[sorted(encoder.stop_tokens)].all())


def test_a_template_that_writes_something_before_an_answer_still_does(builtin_model: Path) -> None:
    pytest.importorskip("llguidance", reason="llguidance is not installed (run: make setup)")
    from finetune.models.grammar import JsonGrammar

    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
        "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    encoder = ChatEncoder(builtin_model, template)
    constraint = JsonGrammar(encoder).constraint(SCHEMA)
    example = encoder.example([{"role": "user", "content": "a"}, {"role": "assistant", "content": '{"sku":"x"'}])
    prompt = encoder.prompt([{"role": "user", "content": "a"}])
    for token in example.tokens[len(prompt) :]:
        if token in encoder.stop_tokens:
            break
        assert constraint.allowed()[token], encoder.decode_all([token])
        constraint.accept(token)
