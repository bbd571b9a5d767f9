"""What is trained is what the model is asked with, for templates that ask and write in the ways of each family; of our wording.

The true templates of trl are in the tests of ``make test-models``.
"""

import copy
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import UserError
from finetune.models import template_check, tokenizer
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import encode_rows, whole_conversations
from finetune.models.templates import TEMPLATES as NAMED
from template_table import ASK, CHAT, SAY, THOUGHT, Line, add_marks, line

_SAID = "{{ '<|im_start|>' + m.role + '\\n' }}"
_ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n"
_END = "{{ m.content }}<|im_end|>\n{% endfor %}" + _ASKS
_IS_LAST = "m.role == 'assistant' and loop.last"
_STRIPPED = "{{ (m.content.split('</think>') | last).strip() if m.role == 'assistant' else m.content }}"
_CHANNEL = "{% if m.thinking and loop.last %}<|channel|>analysis<|message|>{{ m.thinking }}<|end|><|start|>assistant{% endif %}"
TEMPLATES = {
    "a thought, often empty, before the last turn": (
        "{% for m in messages %}" + _SAID + "{% if " + _IS_LAST + " %}{{ '<think>\\n' + (m.reasoning_content or '') +"
        " '\\n</think>\\n\\n' }}{% endif %}" + _END + "' }}{% endif %}"
    ),
    "the prompt begins a thought, the answer drops it": (
        "{% for m in messages %}" + _SAID + _STRIPPED + "<|im_end|>\n{% endfor %}" + _ASKS + "<think>\\n' }}{% endif %}"
    ),
    "the prompt begins a thought, the answer has an empty one": (
        "{% for m in messages %}" + _SAID + "{% if " + _IS_LAST + " and m.reasoning_content %}"
        "{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n' }}{% elif m.role == 'assistant' %}<think></think>{% endif %}"
        + _END + "<think>\\n' }}{% endif %}"
    ),
    "the prompt has an empty thought, the answer none": (
        "{% for m in messages %}" + _SAID + _END + "<|channel>thought\\n<channel|>' }}{% endif %}"
    ),
    "thinking with a switch": (
        "{% for m in messages %}" + _SAID + "{% if " + _IS_LAST + " %}{{ '<think>\\n' + (m.reasoning_content or '') +"
        " '\\n</think>\\n\\n' }}{% endif %}" + _END + "<think>\\n'"
        " + ('' if enable_thinking else '\\n</think>\\n\\n') }}{% endif %}"
    ),
    "channels": (
        "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}" + _CHANNEL + "<|channel|>final{% endif %}"
        "<|message|>{{ m.content }}{{ '<|return|>' if " + _IS_LAST + " else '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
    ),
    "marks around the answer too": (
        "{% for m in messages %}" + _SAID + "{% if m.role == 'assistant' %}{% if m.reasoning_content %}<|START_THINKING|>"
        "{{ m.reasoning_content }}<|END_THINKING|>{% endif %}<|START_RESPONSE|>{{ m.content }}<|END_RESPONSE|>{% else %}"
        "{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}" + _ASKS + "' }}{% endif %}"
    ),
    "brackets": (
        "{% for m in messages %}" + _SAID + "{% if m.reasoning_content %}[THINK]{{ m.reasoning_content }}[/THINK]{% endif %}"
        + _END + "' }}{% endif %}"
    ),
    "letters": (
        "{% for m in messages %}" + _SAID + "{% if m.reasoning_content %}Plan: {{ m.reasoning_content }}\nSaid: {% endif %}"
        + _END + "' }}{% endif %}"
    ),
    "letters around the answer": (
        "{% for m in messages %}" + _SAID + "{{ 'Said: ' + m.content + ' (over)' if m.role == 'assistant' else m.content }}"
        "<|im_end|>\n{% endfor %}" + _ASKS + "' }}{% endif %}"
    ),
    "the prompt begins a thought in brackets": (
        "{% for m in messages %}" + _SAID + _END + "[THINK]' }}{% endif %}"
    ),
    "no end": "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    "an end that is no special token": "{% for m in messages %}{{ m.role + ': ' + m.content }}<channel|>\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
}  # fmt: skip
WANTED: dict[str, dict[str, str]] = {
    "a thought, often empty, before the last turn": {"turns": "3 examples"},
    "the prompt begins a thought, the answer drops it": {"rendering": "behind the prompt", "turns": "3 examples"},
    "the prompt begins a thought, the answer has an empty one": {
        "rendering": "behind the prompt",
        "turns": "3 examples",
    },
    "the prompt has an empty thought, the answer none": {
        "rendering": "behind the prompt",
        "turns": "3 examples",
        "thinking": "refused: the chat template asks for answers without thinking, and this one has some (--thinking drop)",
    },
    "thinking with a switch": {"rendering": "behind the prompt", "turns": "3 examples", "thinking": "enable_thinking"},
    "channels": {"turns": "3 examples"},
    "the prompt begins a thought in brackets": {"rendering": "behind the prompt", "turns": "3 examples"},
    "no end": {"end": "added", "turns": "3 examples"},
    "an end that is no special token": {"rendering": "behind the prompt", "turns": "3 examples"},
}


@pytest.fixture(scope="module")
def model(builtin_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The builtin model's tokenizer, in which the marks of all templates are tokens."""
    folder = tmp_path_factory.mktemp("marked")
    add_marks(builtin_model, "".join(TEMPLATES.values()), folder)
    return folder


LOADED: dict[Path, Any] = {}


@pytest.fixture(autouse=True)
def _quick(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer is loaded once, and templates of these tests need no check."""
    if model not in LOADED:
        LOADED[model] = tokenizer.load(model)
    load = tokenizer.load
    monkeypatch.setattr(
        tokenizer, "load", lambda folder: copy.copy(LOADED[folder]) if folder == model else load(folder)
    )
    monkeypatch.setattr(template_check, "demand_harmless", lambda *_: None)


@pytest.mark.parametrize("name", TEMPLATES)
def test_it_is_trained_as_it_is_asked_and_read_as_it_was_trained(model: Path, name: str) -> None:
    found = line(name, model, TEMPLATES[name])
    wanted = {
        **dict.fromkeys(("rendering", "prompt", "end", "turns", "cleaned", "thinking"), "ok"),
        **WANTED.get(name, {}),
    }
    assert {cell: getattr(found, cell) for cell in wanted} == wanted, found


def test_the_table_sees_what_is_wrong(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "the prompt begins a thought, the answer drops it"
    monkeypatch.setattr("finetune.models.turns.TurnStyle.completion", lambda self, prompt, whole: whole[len(prompt) :])
    assert line(name, model, TEMPLATES[name]).wrong
    assert Line("x", prompt="refused: so it is").wrong == []


def learned(encoder: ChatEncoder, messages: Any) -> list[str]:
    made = next(encoder.examples([messages]))
    assert not isinstance(made, ValueError), made
    return [encoder.decode_all([t for t, m in zip(e.tokens, e.loss_mask, strict=True) if m]) for e in made]


def test_what_is_learned_behind_each_prompt(model: Path) -> None:
    """The texts, written out."""
    ends = {name: learned(ChatEncoder(model, text), CHAT[:2])[0] for name, text in TEMPLATES.items()}
    said = SAY["content"]
    assert list(ends.values()) == [
        f"<think>\n\n</think>\n\n{said}<|im_end|>",
        f"\n</think>\n\n{said}<|im_end|>",
        f"\n</think>\n{said}<|im_end|>",
        f"{said}<|im_end|>",
        f"{said}<|im_end|>",
        f"<|channel|>final<|message|>{said}<|return|>",
        f"<|START_RESPONSE|>{said}<|END_RESPONSE|><|im_end|>",
        f"{said}<|im_end|>",
        f"{said}<|im_end|>",
        f"Said: {said} (over)<|im_end|>",
        f"[/THINK]{said}<|im_end|>",
        f"{said}<|im_end|>",
        f"{said}<channel|>",
    ]
    begun = ChatEncoder(model, TEMPLATES["the prompt begins a thought, the answer drops it"])
    assert learned(begun, [ASK, THOUGHT]) == [f"{THOUGHT['reasoning_content']}\n</think>\n\n{said}<|im_end|>"]
    kept = learned(begun, [ASK, {**THOUGHT, "reasoning_weight": 0}])
    assert kept == [f"{said}<|im_end|>"]


def test_the_remedies_of_refusals_work(model: Path) -> None:
    text = TEMPLATES["the prompt has an empty thought, the answer none"]
    row = {"messages": [ASK, THOUGHT]}
    with pytest.raises(
        UserError, match=r"rows:1: the chat template asks for answers without thinking.*--thinking drop"
    ):
        encode_rows(ChatEncoder(model, text), [(1, row)], Path("rows"), 99, whole_conversations)
    found, _ = encode_rows(ChatEncoder(model, text), [(1, {"messages": [ASK, SAY]})], Path("rows"), 99)
    assert len(found) == 1
    backwards = "{% for m in messages | reverse %}{{ m.content }}{% endfor %}"
    with pytest.raises(UserError, match=r"changes the prompt once the answer follows .--template chatml"):
        ChatEncoder(model, backwards)
    assert learned(ChatEncoder(model, NAMED["chatml"]), [ASK, SAY]) == [f"{SAY['content']}<|im_end|>"]


def test_thinking_in_the_text_of_an_answer_has_the_tokens_of_its_marks(model: Path) -> None:
    encoder = ChatEncoder(model, TEMPLATES["a thought, often empty, before the last turn"])
    typed = {**SAY, "content": f"<think>{THOUGHT['reasoning_content']}</think>{SAY['content']}"}
    assert encoder.example([ASK, typed]).tokens == encoder.example([ASK, THOUGHT]).tokens
    mark = encoder.tokenizer.convert_tokens_to_ids("<think>")
    by_user = {"role": "user", "content": "Is <think> a word?"}
    assert mark not in encoder.prompt([by_user]) and encoder.example([by_user, THOUGHT]).tokens.count(mark) == 1


def test_what_was_cut_off_while_it_thought_is_no_answer(model: Path) -> None:
    begun = ChatEncoder(model, TEMPLATES["the prompt begins a thought, the answer drops it"])
    tokens = begun.tokenizer.encode("It must be 4.", add_special_tokens=False)
    assert begun.read(tokens, stopped=False) == ("", "It must be 4.", "It must be 4.")
    assert begun.read(tokens).text == "It must be 4."  # it has ended, and never thought
    plain = ChatEncoder(model, NAMED["chatml"])
    assert plain.read(tokens, stopped=False) == ("It must be 4.", None, None)
    for text, answer in (("<think>\nhm\n</think>\n\n4", "4"), ("<think>hm", ""), ("[THINK]hm[/THINK]4", "4")):
        assert plain.decode(plain.tokenizer.encode(text, add_special_tokens=False)) == answer


DATED = "{{ strftime_now('%d %b %Y') }}\n" + TEMPLATES["brackets"]


def test_the_date_of_a_template_stands_still(model: Path) -> None:
    days = [datetime(2026, 2, day) for day in (3, 4)]
    first, second = (ChatEncoder(model, DATED, now=day) for day in days)
    texts = [encoder.decode_all(encoder.prompt([ASK])) for encoder in (first, second, first)]
    assert [text[:11] for text in texts] == ["03 Feb 2026", "04 Feb 2026", "03 Feb 2026"]
    assert (first.frozen_date, ChatEncoder(model, TEMPLATES["brackets"]).frozen_date) == ("2026-02-03", "")


def test_chatml_begins_as_the_model_needs_it(builtin_model: Path, tmp_path: Path) -> None:
    assert ChatEncoder(builtin_model, NAMED["chatml"]).decode_all([1]) == "<|im_start|>"
    settings = json.loads((builtin_model / "tokenizer_config.json").read_text())
    for own in ({"model_type": "gemma3_text"}, {"model_type": "llama", "add_bos_token": True}, {"model_type": "llama"}):
        add_marks(builtin_model, "<think>", tmp_path)
        adds = own.pop("add_bos_token", False)
        (tmp_path / "config.json").write_text(json.dumps(own))
        (tmp_path / "tokenizer_config.json").write_text(
            json.dumps({**settings, "bos_token": "<|endoftext|>", "add_bos_token": adds})
        )
        tokens = ChatEncoder(tmp_path, NAMED["chatml"]).prompt([ASK])
        begin = ChatEncoder(tmp_path, NAMED["chatml"]).tokenizer.bos_token_id
        assert tokens.count(begin) == tokens[:1].count(begin) == int(adds or "gemma" in own["model_type"])


def test_several_templates_without_a_default_are_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = copy.copy(LOADED[model])
    loaded.chat_template = {"chat": DATED, "tool_use": DATED}
    monkeypatch.setattr(tokenizer, "load", lambda folder: loaded)
    with pytest.raises(UserError) as refusal:
        ChatEncoder(model)
    said = str(refusal.value)
    assert said == f"{model}: none of its chat templates (chat, tool_use) is the default (choose one with --template)"
    assert ChatEncoder(model, NAMED["chatml"]).prompt([ASK])
