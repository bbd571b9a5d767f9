"""Conversations that are kept as one text: the marks of chat templates, of Alpaca, and labels of who speaks.

A text is a conversation only if its marks make one: it begins with them, and the speakers take turns. An article that quotes an
interview, or code with ``User:`` in it, stays a text.
"""

import re
from functools import cache
from itertools import pairwise

# markup of chats kept as text: what opens a turn, what ends its role, what closes the turn
_MARKUP = (
    ("<|im_start|>", "\n", "<|im_end|>"),
    ("<start_of_turn>", "\n", "<end_of_turn>"),
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
)
_INST, _END_INST, _SYS, _END_SYS = "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"
_ALPACA_INSTRUCTION, _ALPACA_INPUT, _ALPACA_RESPONSE = "### Instruction:", "### Input:", "### Response:"
# words for who asks and who answers
_SPEAKERS = (
    ("Human", "Assistant"), ("User", "Assistant"), ("Question", "Answer"), ("Q", "A"),
    ("Human", "AI"), ("User", "AI"), ("User", "Bot"), ("Customer", "Agent"), ("Prompt", "Response"), ("Prompt", "Completion"),
    ("Frage", "Antwort"), ("Pregunta", "Respuesta"), ("Pergunta", "Resposta"), ("Domanda", "Risposta"), ("Question", "Réponse"),
    ("Вопрос", "Ответ"), ("问题", "答案"), ("问", "答"), ("用户", "助手"), ("質問", "回答"), ("질문", "답변"), ("سؤال", "جواب"),
)  # fmt: skip
# labels that look like nothing else and stand anywhere: of the user, the assistant and the system message
_ANYWHERE = (
    ("<|user|>", "<|assistant|>", "<|system|>"),
    ("<|prompter|>", "<|assistant|>", "<|system|>"),
    ("<human>:", "<bot>:", "<system>:"),
    ("USER:", "ASSISTANT:", "SYSTEM:"),
)
_ENDS = re.compile(r"(</s>|<\|end\|>|<\|endoftext\|>)\s*$")
_CHAT_PREFACE = re.compile(r"\b(?:assistant|chat|conversation)\b", re.IGNORECASE)


_BEGINS = re.compile(r"\s*(?:<s>|<bos>|<\|begin_of_text\|>|<\|endoftext\|>|<\|startoftext\|>)?\s*")
_BETWEEN = re.compile(r"(?:\s|</s>|<s>|<eos>|<\|endoftext\|>|<\|end_of_text\|>)*")
_BOILERPLATE = "below"  # "Below is an instruction that ...", which begins every text of Alpaca's and says nothing more


def turns_in(text: str) -> list[dict[str, str]]:
    """The turns of a text by its marks, each with ``role`` and ``content``; none if no marks in it make a conversation."""
    for opening, after_role, closing in _MARKUP:
        if opening in text:
            return _marked(text.replace("\r\n", "\n"), opening, after_role, closing)
    if _INST in text and _END_INST in text:
        return _inst(text)
    return _alpaca(text) or _labelled(text)


def looks_marked(text: str) -> bool:
    """Whether a text has marks of a chat, though they may not make a conversation."""
    asks, answers = _any_label()
    marked = any(mark in text for mark in (*(opening for opening, *_ in _MARKUP), _INST, _ALPACA_RESPONSE))
    return marked or (asks.search(text) is not None and answers.search(text) is not None)


def _marked(text: str, opening: str, after_role: str, closing: str) -> list[dict[str, str]]:
    """The turns between the marks, which the text begins with and has nothing between; the last can lack its closing mark."""
    before, *parts = text.split(opening)
    turns = []
    for part in parts:
        role, _, words = part.partition(after_role)
        said, _, after = words.partition(closing)
        if not _BETWEEN.fullmatch(after):
            return []
        turns.append({"role": role.strip(), "content": said.strip()})
    return turns if _BEGINS.fullmatch(before) else []


def _inst(text: str) -> list[dict[str, str]]:
    """The turns of Llama 2's and Mistral's markup."""
    before, *parts = text.split(_INST)
    turns = []
    for part in parts:
        question, _, answer = part.partition(_END_INST)
        system, found, rest = question.partition(_END_SYS)
        if found:
            turns.append({"role": "system", "content": system.replace(_SYS, "").strip()})
        turns.append({"role": "user", "content": (rest if found else question).strip()})
        said, _, after = answer.partition("</s>")
        if not _BETWEEN.fullmatch(after):
            return []
        if said.strip():
            turns.append({"role": "assistant", "content": said.strip()})
    return turns if _BEGINS.fullmatch(before) else []


def _alpaca(text: str) -> list[dict[str, str]]:
    """The turns of Alpaca's headings, one pair or several; none if an instruction has no response."""
    preface, *parts = re.split(f"({re.escape(_ALPACA_INSTRUCTION)}|{re.escape(_ALPACA_RESPONSE)})", text)
    marks, texts = parts[::2], parts[1::2]
    if not marks or marks != [_ALPACA_INSTRUCTION, _ALPACA_RESPONSE] * (len(marks) // 2):
        return []
    said = "" if preface.strip().lower().startswith(_BOILERPLATE) else preface.strip()
    turns = [{"role": "system", "content": said}] if said else []
    for mark, words in zip(marks, texts, strict=True):
        asked = "\n\n".join(part for part in map(str.strip, words.partition(_ALPACA_INPUT)[::2]) if part)
        is_asked = mark == _ALPACA_INSTRUCTION
        content = asked if is_asked else _ENDS.sub("", words).strip()
        turns.append({"role": "user" if is_asked else "assistant", "content": content})
    return turns if all(turn["content"] for turn in turns) else []


_Labels = tuple[re.Pattern[str], re.Pattern[str]]  # where a text can begin with one; all of them, the user's in group 1


@cache
def _lines() -> list[_Labels]:
    """The labels at the beginning of lines."""
    found = []
    for before in (r"###[ \t]*", ""):
        for words in _SPEAKERS:
            labels = [rf"{before}{word}[ \t]?[:\uff1a]" for word in (*words, "System")]
            user, answer, system = labels
            begin = re.compile(rf"{user}|{system}", re.IGNORECASE)
            found.append(
                (begin, re.compile(rf"^[ \t]*(?:({user})|({answer})|({system}))", re.IGNORECASE | re.MULTILINE))
            )
    return found


@cache
def _any_label() -> _Labels:
    """The labels of those who ask, and of those who answer."""
    sides = (
        [words[side] for words in _SPEAKERS] + [labels[side].rstrip(":") for labels in _ANYWHERE] for side in (0, 1)
    )
    first, second = ("|".join(map(re.escape, side)) for side in sides)
    return (
        re.compile(rf"^[ \t#]*(?:{first})[ \t]?[:\uff1a\n]", re.IGNORECASE | re.MULTILINE),
        re.compile(rf"^[ \t#]*(?:{second})[ \t]?[:\uff1a\n]", re.IGNORECASE | re.MULTILINE),
    )


def _labelled(text: str) -> list[dict[str, str]]:
    """The turns of a text with labels at the beginning of lines, or anywhere if they look like nothing else; none without."""
    for labels in _ANYWHERE:
        if labels[0] in text and labels[1] in text:
            pattern = "|".join(f"({re.escape(label)})" for label in labels)
            if turns := _split(text, re.compile(rf"(?:^|(?<=[\s>]))(?:{pattern})"), anywhere=True):
                return turns
    begun = text.lstrip()
    for begin, of_lines in _lines():
        if begin.match(begun) and (turns := _split(begun, of_lines, anywhere=False)):
            return turns
    return []


def _split(text: str, labels: re.Pattern[str], *, anywhere: bool) -> list[dict[str, str]]:
    """The turns after ``labels``, whose groups are those of the user, the assistant and the system message; none if the two do
    not take turns. What comes before can be a system message, if it speaks of a chat or turns have an end mark."""
    preface, *parts = labels.split(text)
    groups = zip(parts[0::4], parts[1::4], parts[2::4], strict=True)
    speakers = ["user" if user else "assistant" if answer else "system" for user, answer, _ in groups]
    turns = speakers[1:] if speakers[:1] == ["system"] else speakers
    takes_turns = turns[:1] == ["user"] and "assistant" in turns and all(one != other for one, other in pairwise(turns))
    is_begun = not preface.strip() or (anywhere and ("</s>" in text or _CHAT_PREFACE.search(preface) is not None))
    if not takes_turns or "system" in turns or not is_begun:
        return []
    found = [("system", preface), *zip(speakers, parts[3::4], strict=True)]
    plain = [{"role": role, "content": _ENDS.sub("", words).strip()} for role, words in found]
    return [turn for turn in plain if turn["content"]]
