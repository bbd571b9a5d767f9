"""Questions to a person at a terminal. Without one, or with --yes, the proposals are taken."""

import sys
from collections.abc import Sequence

from finetune.errors import visible
from finetune.terminal import say, show


class Asker:
    """Asks, if there is somebody to answer."""

    def __init__(self, *, silent: bool):
        self.asks = not silent and sys.stdin.isatty() and sys.stdout.isatty()

    def choice(self, question: str, options: Sequence[str]) -> int:
        """Which of the options somebody wants, from 0; the first one is the proposal."""
        if not self.asks or len(options) == 1:
            return 0
        show(question, *(f"  {number}  {option}" for number, option in enumerate(options, start=1)))
        while True:
            answer = self._read("Number [1]: ")
            if not answer:
                return 0
            if answer.isdecimal() and 1 <= int(answer) <= len(options):
                return int(answer) - 1
            say(f"a number from 1 to {len(options)}")

    def text(self, question: str, proposal: str) -> str:
        """What somebody writes; the proposal if that is nothing."""
        if not self.asks:
            return proposal
        return self._read(f"{question} [{proposal}]: ") or proposal

    @staticmethod
    def _read(prompt: str) -> str:
        """A line; "" if there are no more."""
        try:
            return input(visible(prompt)).strip()
        except EOFError:
            show("")
            return ""
