"""A conversation with the tuned model on the terminal, the base model's answers beside it on demand."""

import sys
from typing import Any

from finetune.encoding import Message

_HELP = "Type a message; /new starts over, /quit (or Ctrl-D) ends."


def chat(tuned: Any, base: Any | None, max_tokens: int) -> None:
    """Read messages from stdin until its end; each model keeps its own side of the conversation."""
    models = {"base": base, "tuned": tuned} if base is not None else {"tuned": tuned}
    conversations: dict[str, list[Message]] = {name: [] for name in models}
    print(_HELP)
    while True:
        text = _read_line()
        if text is None or text == "/quit":
            return
        if text == "/new":
            conversations = {name: [] for name in models}
            print("(new conversation)")
        elif text.startswith("/"):
            print(_HELP)
        elif text:
            for name, model in models.items():
                print(f"{name}> ", end="", flush=True)
                conversations[name].append({"role": "user", "content": text})
                answer = _stream(model, conversations[name], max_tokens)
                conversations[name].append({"role": "assistant", "content": answer})


def _read_line() -> str | None:
    try:
        return input("you> ").strip()
    except EOFError:
        print()
        return None


def _stream(model: Any, conversation: list[Message], max_tokens: int) -> str:
    """Print the answer as it comes; Ctrl-C ends the answer, not the chat. Returns the text."""
    tokens: list[int] = []
    shown = ""
    try:
        for token in model.stream(model.encoder.prompt(conversation), max_tokens):
            tokens.append(token)
            text = model.encoder.decode(tokens)
            # a character of several tokens decodes to U+FFFD until its last one is there
            if text.startswith(shown) and not text.endswith("\ufffd"):
                sys.stdout.write(text[len(shown) :])
                sys.stdout.flush()
                shown = text
    except KeyboardInterrupt:
        print(" (stopped)", end="")
    print()
    return shown or " "
