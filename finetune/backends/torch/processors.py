"""What happens at each step of an answer in Transformers: tokens are sampled or masked, and ends are noted."""

import random
import time
from collections.abc import Sequence
from typing import Any

from transformers import LogitsProcessor, StoppingCriteria

from finetune.backends.torch.runtime import torch
from finetune.models.constraint import Constraint, allowed_rows
from finetune.signals import Stop, never


class TokenSampler(LogitsProcessor):
    """Keeps of each row's logits only that of a sampled token, and notes its log-probability.

    What a row samples depends on its own random numbers alone, not on the rows beside it.
    """

    def __init__(self, temperature: float, generators: Sequence[random.Random]):
        self._temperature, self._generators = temperature, generators
        self.logprobs: list[list[float]] = []  # of each step, of each row

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        logprobs = (scores.float() / self._temperature).log_softmax(-1)
        sums = logprobs.exp().cumsum(-1)
        numbers = torch.tensor([[one.random()] for one in self._generators], device=scores.device)
        # a number that rounding puts beyond the last sum means the last token that can come
        wanted = torch.minimum(numbers * sums[:, -1:], sums[:, -1:] * (1 - 2**-24))
        tokens = torch.searchsorted(sums, wanted, right=True).clamp_max(scores.shape[-1] - 1)
        self.logprobs.append(logprobs.gather(-1, tokens).squeeze(-1).tolist())
        return torch.full_like(scores, -torch.inf).scatter_(-1, tokens, 0.0)


class Masked(LogitsProcessor):
    """Leaves of each row's logits those of the tokens that can come next; an answer that has ended may go on as it likes."""

    def __init__(self, constraints: Sequence[Constraint], stop_tokens: frozenset[int]):
        self._open: list[Constraint | None] = list(constraints)
        self._stop_tokens, self._began = stop_tokens, False

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        for row, token in enumerate(input_ids[:, -1].tolist() if self._began else ()):
            constraint = self._open[row]
            if token in self._stop_tokens:
                self._open[row] = None
            elif constraint:
                constraint.accept(token)
        self._began = True
        allowed = allowed_rows(self._open, scores.shape[-1], self._stop_tokens)
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), -torch.inf)


class Ends(StoppingCriteria):
    """Notes at which token, and after how many seconds, each row of a batch has ended; all end if ``stop`` returns True."""

    def __init__(self, stop_tokens: frozenset[int], rows: int, stop: Stop = never):
        self._stop_tokens, self._started, self._steps, self._stop = stop_tokens, time.perf_counter(), 0, stop
        self.at: list[int | None] = [None] * rows
        self.seconds = [0.0] * rows
        self.interrupted = False

    def __call__(self, input_ids: Any, scores: Any, **named: Any) -> Any:
        seconds = time.perf_counter() - self._started
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self.at[row] is None:
                self.seconds[row] = seconds
                if token in self._stop_tokens:
                    self.at[row] = self._steps
        self._steps += 1
        self.interrupted = self.interrupted or self._stop()
        return torch.tensor([self.interrupted or at is not None for at in self.at], device=input_ids.device)
