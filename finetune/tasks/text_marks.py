"""Conversations that are kept as one text: the marks of chat templates, of Alpaca, and labels of who speaks."""

import re

# markup of chats kept as text: what opens a turn, what ends its role, what closes the turn
_MARKUP = (
    ("<|im_start|>", "\n", "<|im_end|>"),
    ("<start_of_turn>", "\n", "<end_of_turn>"),
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
_INST, _END_INST, _SYS, _END_SYS = "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"
_ALPACA_INSTRUCTION, _ALPACA_INPUT, _ALPACA_RESPONSE = "### Instruction:", "### Input:", "### Response:"
_QUESTIONS = (("Human", "Assistant"), ("User", "Assistant"), ("Question", "Answer"), ("Q", "A"))
# labels of the user, the assistant and the system message
_LABELS = (
    ("<|user|>", "<|assistant|>", "<|system|>"),
    *((f"### {user}:", f"### {answer}:", "### System:") for user, answer in _QUESTIONS),
    ("USER:", "ASSISTANT:", "SYSTEM:"),
    *((f"{user}:", f"{answer}:", "System:") for user, answer in _QUESTIONS),
)
_ENDS = re.compile(r"(</s>|<\|end\|>|<\|endoftext\|>)\s*$")


def turns_in(text: str) -> list[dict[str, str]]:
    """The turns of a text by its marks, each with ``role`` and ``content``; none if it has no marks that are known."""
    for opening, after_role, closing in _MARKUP:
        if opening in text:
            return _marked(text.replace("\r\n", "\n"), opening, after_role, closing)
    if _INST in text:
        return _inst(text)
    before, _, answer = text.partition(_ALPACA_RESPONSE)
    _, found, question = before.partition(_ALPACA_INSTRUCTION)
    if not found or not answer:
        return _labelled(text)
    parts = (part.strip() for part in question.partition(_ALPACA_INPUT)[::2])
    asked = "\n\n".join(part for part in parts if part)
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer.strip()}]


def _marked(text: str, opening: str, after_role: str, closing: str) -> list[dict[str, str]]:
    """The turns between the marks; the last one can lack its closing mark."""
    turns = []
    for part in text.split(opening)[1:]:
        role, _, words = part.partition(after_role)
        turns.append({"role": role.strip(), "content": words.partition(closing)[0].strip()})
    return turns


def _labelled(text: str) -> list[dict[str, str]]:
    """The turns of a text with labels at the beginning of lines, or anywhere if they look like nothing else; none without."""
    for labels in _LABELS:
        roles = dict(zip(labels, ("user", "assistant", "system"), strict=True))
        anywhere = labels[0].startswith("<") or labels[0] == "USER:"
        before = r"(?:^|(?<=[\s>]))" if anywhere else r"(?m:^)[ \t]*"
        preface, *parts = re.split(f"{before}({'|'.join(map(re.escape, labels))})", text)
        marks, texts = parts[::2], parts[1::2]
        if set(labels[:2]) <= {*marks} and marks[0] != labels[1] and (anywhere or not preface.strip()):
            turns = [("system", preface), *((roles[mark], words) for mark, words in zip(marks, texts, strict=True))]
            plain = [{"role": role, "content": _ENDS.sub("", words).strip()} for role, words in turns]
            return [turn for turn in plain if turn["content"]]
    return []


def _inst(text: str) -> list[dict[str, str]]:
    """The turns of Llama 2's and Mistral's markup."""
    turns = []
    for part in text.split(_INST)[1:]:
        question, _, answer = part.partition(_END_INST)
        system, found, rest = question.partition(_END_SYS)
        if found:
            turns.append({"role": "system", "content": system.replace(_SYS, "").strip()})
        turns.append({"role": "user", "content": (rest if found else question).strip()})
        if answer := answer.partition("</s>")[0].strip():
            turns.append({"role": "assistant", "content": answer})
    return turns
