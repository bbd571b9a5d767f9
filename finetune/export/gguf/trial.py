"""What an exported file is tried on, and what the run makes of it: texts, prompts and the log-probabilities of the adapters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from finetune.backends import logits
from finetune.errors import UserError
from finetune.evaluation.tuned_run import TunedRun
from finetune.export.hard_texts import hard_texts
from finetune.export.source import Source
from finetune.models.conversation import Conversation, PlainText
from finetune.records import files
from finetune.records.dataset import read_dataset_record, read_split

if TYPE_CHECKING:
    import numpy as np

_MOST_ROWS = 500
_SEQUENCES, _LONGEST = 4, 256  # rows whose log-probabilities are compared, and tokens of each
_SPARE = 64


@dataclass(frozen=True)
class Place:
    """A point of a sequence: after the token ids ``ids`` the probabilities of the next one are compared."""

    ids: list[int]
    tuned: "np.ndarray"  # log-probabilities of the adapters beside their model in MLX: float64[vocabulary]


@dataclass(frozen=True)
class Trial:
    """``conversations`` are prompts of the run with the ids that it makes of them. ``effect`` is the KL divergence between the
    base model and the adapters at the ``places``, a mean in nats."""

    texts: list[tuple[str, list[int]]]
    conversations: list[tuple[Conversation, list[int]]]
    places: list[Place]
    effect: float
    context: int
    longest: int  # tokens of a prompt and its answer in the rows


def trial_of(source: Source, *, numbers: bool) -> Trial:
    """Of the test rows of a run, or of some texts if it has none any more; without ``numbers`` there are no places."""
    encoder, rows = source.encoder, _rows(source.run)
    found = [Conversation.of(row) for row in rows]
    backend = encoder.tokenizer.backend_tokenizer
    contents = [text for one in found for text in _texts(one)]
    marks = [str(backend.id_to_token(at)) for at in sorted(encoder.special_tokens)[:40]]
    marks += list(encoder.new_tokens.tokens[:40]) if encoder.new_tokens else []
    texts = dict.fromkeys([*hard_texts(), *contents, *(f"a {one} b{one}" for one in marks)])
    encoded = backend.encode_batch([text for text in texts if text], add_special_tokens=False)
    prompts = _prompts(source, found)
    sequences = _sequences(source, found)
    places, effect = _places(source, sequences) if numbers else ([], 0.0)
    longest = max([*(len(ids) for _, ids in prompts), *(len(ids) for ids, _ in sequences)], default=0)
    ids_of = [(text, one.ids) for text, one in zip((t for t in texts if t), encoded, strict=True)]
    return Trial(ids_of, prompts, places, effect, longest + _SPARE, _longest(source, found))


def _rows(run: TunedRun | None) -> list[files.Row]:
    if run is None:
        return []
    try:
        data = read_dataset_record(run.data_dir)
        return [row for _, row in read_split(run.data_dir, "test", data, may_be_empty=True)][:_MOST_ROWS]
    except UserError:  # the rows are gone, which keeps nobody from exporting
        return []


def _texts(conversation: Conversation) -> list[str]:
    if isinstance(conversation, PlainText):
        return [conversation.text]
    return [message["content"] for message in conversation.messages]


def _prompts(source: Source, found: Sequence[Conversation]) -> list[tuple[Conversation, list[int]]]:
    """Prompts of the rows, but for those in which somebody typed a control token: as text in training, elsewhere a token."""
    encoder = source.encoder
    asked = [one.prompt for one in found if not encoder.types_controls(one)]
    if not asked and source.chat_template:
        turns = [{"role": "user", "content": text} for text in logits.TEXTS]
        asked = [Conversation([turn]) for turn in turns]  # type: ignore[list-item]
    prompts = []
    for one in asked:
        try:
            prompts.append((one, encoder.prompt(one)))
        except ValueError:  # a template that refuses it
            continue
    return prompts


def _sequences(source: Source, found: Sequence[Conversation]) -> list[tuple[list[int], list[int]]]:
    """Token ids, and after how many of them the next one is compared: at the beginning and in the middle of an answer."""
    sequences = []
    for made in source.encoder.examples(found[:_SEQUENCES]):
        if isinstance(made, ValueError) or True not in made[-1].loss_mask:
            continue
        first = max(1, made[-1].loss_mask.index(True))
        start = max(0, first - _LONGEST // 2)
        ids, first = made[-1].tokens[start:][:_LONGEST], first - start
        sequences.append((ids, sorted({first, (first + len(ids)) // 2})))
    if not sequences:
        sequences = [(ids, [len(ids) // 2, len(ids)]) for ids in logits.prompts(source.model)]
    return sequences


def _longest(source: Source, found: Sequence[Conversation]) -> int:
    lengths = [
        max(len(one.tokens) for one in made)
        for made in source.encoder.examples(found)
        if not isinstance(made, ValueError)
    ]
    return max(lengths, default=0)


def _places(source: Source, sequences: Sequence[tuple[list[int], list[int]]]) -> tuple[list[Place], float]:
    from finetune.export.reference import reference

    beside = reference(source)
    tuned = _logprobs(beside.tuned, sequences)
    places = [Place(ids[:at], tuned[number, at]) for number, (ids, ends) in enumerate(sequences) for at in ends]
    known = [(ids, ends) if max(ids) < beside.rows else ([], []) for ids, ends in sequences]
    base = _logprobs(beside.base, known)
    effects = [divergence(tuned[key], values) for key, values in base.items()]
    return places, sum(effects) / len(effects) if effects else 0.0


def _logprobs(
    ask: Callable[[list[list[int]]], Any], sequences: Sequence[tuple[list[int], list[int]]]
) -> "dict[tuple[int, int], np.ndarray]":
    """By the number of the sequence and the place in it."""
    found: dict[tuple[int, int], np.ndarray] = {}
    for number, (ids, ends) in enumerate(sequences):
        if ids:
            logits_ = ask([ids])
            found |= {(number, at): normalised(logits_[at - 1]) for at in ends}
    return found


def normalised(values: Any) -> "np.ndarray":
    """Logits as log-probabilities: float64[vocabulary]"""
    import numpy as np

    values = np.asarray(values, np.float64)
    values = values - values.max()
    return values - np.log(np.exp(values).sum())


def divergence(p: Any, q: Any) -> float:
    """The KL divergence of q from p, both log-probabilities, in nats; over the tokens that both know."""
    import numpy as np

    known = min(len(p), len(q))
    p, q = normalised(p[:known]), normalised(q[:known])
    return max(0.0, float(np.sum(np.exp(p) * (p - q))))
