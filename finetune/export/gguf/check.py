"""Asks llama.cpp what it makes of an exported file: tokens, prompts, probabilities and the end must be the run's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.backends.llamacpp.server import Server, serving
from finetune.errors import UserError, shortened
from finetune.export.gguf.trial import Trial, divergence
from finetune.export.gguf.vocabulary import prompt_text
from finetune.export.source import Source
from finetune.terminal import counted

MOST_KL = 1e-4  # nats, of a file in F32 or F16; rounding to F16 makes 1e-6 to 1e-5
TIMES = 10  # so many times more than the export must the adapters change
KEPT = 0.9  # share of the adapters' effect below which a file is not recommended
_COUNTED = 3  # prompts that the chat endpoint is asked about


@dataclass(frozen=True)
class Measured:
    """One file against the adapters in MLX: KL divergence, a mean in nats, and at how many places the next token is theirs."""

    kl: float
    same_next: int
    answers: list[list[float]]  # its log-probabilities at each place


def prove(path: Path, source: Source, trial: Trial) -> Measured:
    """Tokens, prompts, ends and numbers of a file in F32 or F16. UserError (exit 3) for the first that is not the run's."""
    with serving(path, context=trial.context) as server:
        _tokens(server, source, trial)
        _prompts(server, source, trial)
        _end(server, source, trial)
        found = _measured(server, trial)
    if not found.kl <= MOST_KL:
        raise UserError(
            f"{path.name}: llama.cpp computes something else than the adapters in MLX: the KL divergence is {found.kl:.1e}"
            f" (allowed: {MOST_KL:.0e}). Nothing was written",
            exit_code=3,
        )
    if trial.effect > 0 and not trial.effect >= TIMES * found.kl:
        raise UserError(
            f"the adapters change the model by a KL divergence of only {trial.effect:.1e}, the export by {found.kl:.1e}: too"
            " little to tell whether it is right. Nothing was written",
            exit_code=3,
        )
    return found


def measure(path: Path, trial: Trial) -> Measured:
    """The numbers of another file of the same model."""
    with serving(path, context=trial.context) as server:
        return _measured(server, trial)


def kept(measured: Measured, trial: Trial) -> float | None:
    """The share of the adapters' effect that is left; None if they change nothing."""
    return None if trial.effect == 0 else max(0.0, 1 - measured.kl / trial.effect)


def between(one: Measured, other: Measured) -> float:
    """The KL divergence of ``other`` from ``one``, a mean in nats."""
    pairs = list(zip(one.answers, other.answers, strict=True))
    return sum(divergence(_array(p), _array(q)) for p, q in pairs) / max(1, len(pairs))


def _array(values: Sequence[float]) -> object:
    import numpy as np

    return np.asarray(values)


def _tokens(server: Server, source: Source, trial: Trial) -> None:
    for text, ids in trial.texts:
        if (found := server.tokens(text)) != ids:
            raise UserError(
                f"{server.path.name}: llama.cpp makes other tokens of {shortened(repr(text))}:"
                f" {_difference(source, ids, found)}. Nothing was written",
                exit_code=3,
            )


def _difference(source: Source, wanted: Sequence[int], found: Sequence[int]) -> str:
    at = next(
        (at for at, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other),
        min(len(wanted), len(found)),
    )
    tokenizer = source.encoder.tokenizer
    ours, theirs = (tokenizer.convert_ids_to_tokens(list(ids[at : at + 3])) for ids in (wanted, found))
    return (
        f"from the {at + 1}. of {counted(len(wanted), 'token')} on {shortened(repr(theirs))} instead of"
        f" {shortened(repr(ours))}"
    )


def _prompts(server: Server, source: Source, trial: Trial) -> None:
    for number, (conversation, ids) in enumerate(trial.conversations):
        text = server.prompt(conversation) if conversation.messages else getattr(conversation, "text", "")
        found = server.tokens(text, whole_prompt=True)
        if found != ids:
            raise UserError(
                f"{server.path.name}: llama.cpp asks otherwise than the run did, for {shortened(repr(conversation.question))}:"
                f" {_difference(source, ids, found)}. Nothing was written",
                exit_code=3,
            )
        if number < _COUNTED:
            _demand_same_begin(server, source, ids)
        if conversation.messages and number < _COUNTED and (count := server.prompt_count(conversation)) != len(ids):
            raise UserError(
                f"{server.path.name}: the chat endpoint of llama.cpp counts {count} tokens of a prompt that has {len(ids)} in"
                " the run. Nothing was written",
                exit_code=3,
            )


def _demand_same_begin(server: Server, source: Source, ids: list[int]) -> None:
    """UserError if a prompt that Ollama writes, or a person, begins otherwise: with a beginning-of-sequence token too many."""
    backend, text = source.encoder.tokenizer.backend_tokenizer, prompt_text(source, ids)
    inner = backend.encode(text, add_special_tokens=False).ids
    if ids[len(ids) - len(inner) :] == inner and (found := server.tokens(text, whole_prompt=True)) != ids:
        raise UserError(
            f"{server.path.name}: llama.cpp begins a prompt otherwise than the run did:"
            f" {_difference(source, ids, found)}. Nothing was written",
            exit_code=3,
        )


def _end(server: Server, source: Source, trial: Trial) -> None:
    end = source.encoder.end.token
    if end is None:
        return
    ids = trial.conversations[0][1] if trial.conversations else trial.places[0].ids
    if not server.ends_at(ids, end):
        raise UserError(
            f"{server.path.name}: llama.cpp does not stop at {source.encoder.decode_all([end])!r}, the end of an answer in the"
            " run. Nothing was written",
            exit_code=3,
        )


def _measured(server: Server, trial: Trial) -> Measured:
    import numpy as np

    answers, total, same = [], 0.0, 0
    for place in trial.places:
        found = server.logprobs(place.ids, len(place.tuned))
        total += divergence(place.tuned, found)
        same += int(np.argmax(found) == np.argmax(place.tuned))
        answers.append(found.tolist())
    return Measured(total / max(1, len(trial.places)), same, answers)
