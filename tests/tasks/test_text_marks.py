"""Texts with marks of who speaks: conversations, or texts that only quote one."""

import time

import pytest

from finetune.tasks.conversations import PLAIN_TEXT, to_messages, told
from finetune.tasks.text_marks import looks_marked, turns_in


def shown(text: str) -> str:
    """The turns as "u:question|a:answer"; "" if the text is none."""
    return "|".join(f"{turn['role'][0]}:{turn['content']}" for turn in turns_in(text))


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("Human: a\nAI: b", "u:a|a:b"),
        ("user: a\nassistant: b\nuser: c\nassistant: d", "u:a|a:b|u:c|a:d"),
        ("### user:\na\n### ASSISTANT:\nb", "u:a|a:b"),
        ("<human>: a\n<bot>: b\n<human>: c\n<bot>: d", "u:a|a:b|u:c|a:d"),
        ("<|prompter|>a<|endoftext|><|assistant|>b<|endoftext|>", "u:a|a:b"),
        ("Customer: a\nAgent: b", "u:a|a:b"),
        ("System: s\nUser: a\nAssistant: b", "s:s|u:a|a:b"),
        ("Frage: a\nAntwort: b", "u:a|a:b"),
        ("Question : a\nRéponse : b", "u:a|a:b"),
        ("问：天气?\n答：好", "u:天气?|a:好"),
        ("Вопрос: а\nОтвет: б", "u:а|a:б"),
        ("<s>[INST] <<SYS>>\ns\n<</SYS>>\n\na [/INST] b </s><s>[INST] c [/INST] d </s>", "s:s|u:a|a:b|u:c|a:d"),
        ("<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>", "u:a|m:b"),
        ("Below is an instruction that describes a task.\n\n### Instruction:\na\n\n### Response:\nb</s>", "u:a|a:b"),
        ("You write SQL.\n\n### Instruction:\na\n\n### Input:\ni\n\n### Response:\nb", "s:You write SQL.|u:a\n\ni|a:b"),
        ("### Instruction:\na\n### Response:\nb\n### Instruction:\nc\n### Response:\nd", "u:a|a:b|u:c|a:d"),
        ("A chat with an assistant. USER: a ASSISTANT: b", "s:A chat with an assistant.|u:a|a:b"),
    ],
)
def test_marks_make_a_conversation(text: str, turns: str) -> None:
    assert shown(text) == turns


QUOTING = [
    "The interview began badly.\nQ: Why?\nA: Because.\nIt ended worse.",
    "Q: one question\nQ: another question\nA: one answer",  # nobody takes turns
    "User: root\nUser: guest\nAssistant: none",
    "A: I said so.\nQ: Did you?",
    "In ChatML <|im_start|>user\nhello<|im_end|> opens a turn, and <|im_start|>assistant\nhi<|im_end|> answers.",
    "<|im_start|>user\na<|im_end|>\nand here somebody explains it\n<|im_start|>assistant\nb<|im_end|>",
    "Llama wants [INST] around a question [/INST] and then answers.",
    "# Guide\n\n### Instruction:\nOpen it.\n\n### Instruction:\nClose it.\n\n### Response:\nDone.",
    "The log shows USER: root and ASSISTANT: none.",
    "def f():\n    # User: the caller\n    # Assistant: the callee\n    return 1",
    "class User:\n    pass\n\nclass Assistant:\n    pass",
]


@pytest.mark.parametrize("text", QUOTING)
def test_a_text_that_only_quotes_marks_stays_a_text(text: str) -> None:
    assert to_messages({"text": text}) == [
        {"role": "user", "content": PLAIN_TEXT},
        {"role": "assistant", "content": text},
    ]


def test_marks_that_make_no_conversation_are_told() -> None:
    for text in QUOTING[:8]:
        assert looks_marked(text)
        assert [what for what in told({"text": text}) if "make no conversation" in what]
    for text in ("Just a story.", "Q: only questions", QUOTING[-1]):
        assert not looks_marked(text) and not list(told({"text": text}))


@pytest.mark.parametrize(
    "text", ["User: a\nAssistant: b\n" * 9_000, "Q: " + "x\n" * 90_000, "### Question: " * 14_000, " \t" * 90_000]
)
def test_a_long_text_takes_a_moment(text: str) -> None:
    began = time.monotonic()
    turns_in(text), looks_marked(text)
    assert time.monotonic() - began < 5
