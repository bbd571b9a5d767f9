"""Chat templates by name, against what each model family writes, and on a real tokenizer.

The texts written down here were compared, token by token, with Meta's llama-models 0.3.0 (llama), Meta's Llama 2 chat code on
its tokenizer (llama2) and mistral-common 1.13.1, tokenizer v3 (mistral, the system message folded into the first question).
"""

from pathlib import Path

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from finetune.errors import UserError
from finetune.models.encoder import ChatEncoder
from finetune.models.gguf_tokenizer import GEMMA_TEMPLATE
from finetune.models.templates import TEMPLATES, Template, find_template

SYSTEM = {"role": "system", "content": "Be brief."}
CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "So."},
]
WRITTEN = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
    "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nSo.<|im_end|>\n",
    "llama": "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWhy?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nSo.<|eot_id|>",
    "llama2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Yes? </s><s>[INST] Why? [/INST] So. </s>",
    "alpaca": "<s>Be brief.\n\n### Instruction:\nHi\n\n### Response:\nYes?</s>\n\n"
    "### Instruction:\nWhy?\n\n### Response:\nSo.</s>\n\n",
    "mistral": "<s>[INST] Hi[/INST] Yes?</s>[INST] Why?[/INST] So.</s>",
    "gemma": "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n"
    "<start_of_turn>user\nWhy?<end_of_turn>\n<start_of_turn>model\nSo.<end_of_turn>\n",
}
NO_SYSTEM = ("gemma", "mistral")


def written(template: str, chat: list[dict[str, str]], prompt: bool = False) -> str:
    text, _ = render_jinja_template([chat], chat_template=template, add_generation_prompt=prompt, bos_token="<s>")
    return str(text[0])


def for_its_own_model(name: str) -> str:
    template = TEMPLATES[name]
    assert isinstance(template, Template)
    return template.for_model({template.end}, "</s>") if template.end else template.for_model(set(), "</s>")


@pytest.mark.parametrize("name", WRITTEN)
def test_a_conversation_as_the_family_writes_it(name: str) -> None:
    template = for_its_own_model(name)
    chat = CHAT if name in NO_SYSTEM else [SYSTEM, *CHAT]
    whole = written(template, chat)
    assert whole == WRITTEN[name]
    prompt = written(template, chat[:-1], prompt=True)
    assert whole.startswith(prompt) and whole[len(prompt) :].strip().startswith("So.")


def test_the_templates_of_real_models_are_the_same(builtin_model: Path) -> None:
    own = ChatEncoder(builtin_model)
    assert own.own_template and ChatEncoder(builtin_model, TEMPLATES["chatml"]).example([SYSTEM, *CHAT]) == own.example(
        [SYSTEM, *CHAT]
    )
    assert written(for_its_own_model("gemma"), CHAT) == written(GEMMA_TEMPLATE, CHAT)


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "model"])
def test_on_a_model_of_another_family_each_turn_ends_with_one_token(name: str, builtin_model: Path) -> None:
    encoder = ChatEncoder(builtin_model, TEMPLATES[name])
    made = next(encoder.examples([[SYSTEM, *CHAT]]))
    assert not isinstance(made, ValueError)
    example, learned = made[-1], ""
    for one in made:  # the tokenizer joins line ends with an answer: such a prompt has an example of its own
        learned += encoder.decode_all([t for t, m in zip(one.tokens, one.loss_mask, strict=True) if m])
        assert one.tokens[-1] in encoder.stop_tokens
    assert [part.strip() for part in learned.split(encoder.decode_all(example.tokens[-1:]))][:2] != ["", ""]
    assert "Yes?" in learned and "So." in learned and "Why?" not in learned and "Be brief." not in learned
    assert "Be brief." in encoder.decode_all(example.tokens)


def test_llama2_strips_system_and_question_as_one() -> None:
    chat = [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "  Hi "}]
    assert written(for_its_own_model("llama2"), chat) == "<s>[INST] <<SYS>>\n Be brief. \n<</SYS>>\n\n  Hi [/INST]"


def test_a_template_of_ones_own(tmp_path: Path, builtin_model: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}\n{% endfor %}assistant:")
    encoder = ChatEncoder(builtin_model, find_template(str(path)))
    assert encoder.decode_all(encoder.prompt(CHAT[:1])).endswith("user: Hi<|im_end|>\nassistant:")
    path.write_text("{% for m in messages %}")
    with pytest.raises(UserError, match=r"--template: the chat template refuses it: Unexpected end"):
        ChatEncoder(builtin_model, find_template(str(path)))
    with pytest.raises(UserError, match=r"unknown value 'gema' .did you mean gemma"):
        find_template("gema")
    for broken in (
        "{# nothing #}",
        "{{ messages + 1 }}",
        "{{ 1 / 0 }}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    ):
        path.write_text(broken)
        with pytest.raises(UserError, match="chat template"):
            ChatEncoder(builtin_model, find_template(str(path)))
    # sandboxed: what is not a conversation cannot be reached
    path.write_text("{{ messages.__class__.__mro__ }}")
    with pytest.raises(UserError, match="template"):
        ChatEncoder(builtin_model, find_template(str(path)))
