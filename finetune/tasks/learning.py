"""Which turns of the assistant are learned: marks on single turns, and ``--learn``.

In the rows that are written a turn that is only context has ``"weight": 0``, as in OpenAI's format. Every other turn of the
assistant is learned.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.errors import shortened
from finetune.models.conversation import Message

LEARN = ("all", "last", "marked")  # --learn

# how people mark turns that are to be learned, or not
MARKS = (
    *("weight", "loss_weight", "loss_mask", "loss", "compute_loss"),
    *("train", "training", "trainable", "learn", "learnable", "train_on_turn"),
)
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")
_INVERSE = ("mask", "masked", "no_loss")  # true: not to be learned, or the opposite
_OF_PARTS = ("train_detail",)  # marks of single characters
REFUSED = frozenset((*MARKS, *_INVERSE, *_OF_PARTS))  # what --ignore takes out before it is read


def weight_of(turn: Mapping[str, Any], role: str) -> int | None:
    """1 or 0 if the turn of the assistant is marked to be learned or not; None if it is not marked.

    ValueError if a mark cannot be honoured: a fraction, a list with a mark for each token, or two that contradict each other.
    """
    if role != "assistant":
        return None
    demand_no_bad_answer(turn)
    found: dict[str, int] = {}
    for name in (name for name in MARKS if _says(turn.get(name))):
        value = _word(turn[name])
        if isinstance(turn[name], (list, dict)):
            raise ValueError(f"a message of the assistant has a mark for each of its parts in {name}{_remedy(name)}")
        if value not in (*_YES, *_NO):
            raise ValueError(
                f"a message of the assistant has {name} {_shown(turn[name])}: a turn is learned or not, 1 or 0"
                f"{_remedy(name)}"
            )
        found[name] = int(value in _YES)
    for name in (name for name in (*_INVERSE, *_OF_PARTS) if _says(turn.get(name))):
        if turn[name] is not False or name in _OF_PARTS:
            raise ValueError(
                f"a message of the assistant has {name} {_shown(turn[name])}: marks that are read are weight 0 or 1 and"
                f" train true or false{_remedy(name)}"
            )
    if len(set(found.values())) > 1:
        marks = " and ".join(f"{name} {_shown(turn[name])}" for name in found)
        raise ValueError(f"a message of the assistant has {marks} (keep one of them)")
    return next(iter(found.values()), None)


def _says(value: object) -> bool:
    return value is not None and value != "" and value != []


def _shown(value: object) -> str:
    return shortened(repr(value), 40)


def _remedy(name: str) -> str:
    return f" (--ignore {name}, if all turns are to be learned)"


def demand_whole(row: Mapping[str, Any]) -> None:
    """ValueError if a mark beside the messages leaves the row out of the loss, or has a value for each message or token."""
    for name in (name for name in (*MARKS, *_INVERSE) if _says(row.get(name))):
        if isinstance(row[name], (list, dict)):
            raise ValueError(
                f"the field {name} is {'a list' if isinstance(row[name], list) else 'an object'}: marks are read from the"
                f" messages (write weight 0 or 1 into each message of the assistant, or --ignore {name})"
            )
        if name in MARKS and _word(row[name]) in _NO:
            raise ValueError(
                f"the row has {name} {_shown(row[name])}, so there is nothing to learn (remove it, or --ignore {name} learns"
                " it all the same)"
            )


# whether an answer is a good one, to people and to KTO
FEEDBACK = frozenset(
    ("label", "is_correct", "correct", "is_good", "good", "desirable", "thumbs_up", "liked", "feedback")
)
RATINGS = frozenset(
    ("rating", "ratings", "score", "scores", "reward", "rewards", "stars", "quality", "votes", "upvotes")
)
IGNORABLE = REFUSED | FEEDBACK | RATINGS
_BAD = (*_NO, "bad", "negative", "down", "thumbs_down", "dislike", "disliked", "undesirable", "rejected", "wrong", "-1")


def demand_no_bad_answer(row: Mapping[str, Any]) -> None:
    """ValueError if a field says that the answer is a bad one: it would be learned like a good one."""
    for name in row:
        if is_feedback(name, row[name]) and _word(row[name]) in _BAD:
            raise ValueError(
                f"{name} {_shown(row[name])} says that the answer is a bad one, and it would be learned like a good one"
                f" (remove such rows; or make pairs for --type preference; or --ignore {name})"
            )


def is_feedback(name: str, value: object) -> bool:
    """Whether a field says if an answer is good, in a word: another label is a class."""
    words = (*_YES, *_BAD, "good", "positive", "up", "like", "right", "-1.0")
    return name in FEEDBACK | RATINGS and _word(value) in words and (name in FEEDBACK or isinstance(value, (str, bool)))


def says_nothing(name: str, value: object, role: str = "assistant") -> bool:
    """Whether a mark asks for nothing but what is done anyway: the turns of the assistant are learned, the others are not."""
    return name in MARKS and _word(value) in (_YES if role == "assistant" else _NO)


def _word(value: object) -> str:
    return str(value).strip().lower()


def chosen(messages: Sequence[Message], learn: str) -> list[Message]:
    """The conversation with ``"weight": 0`` in the turns of the assistant that ``--learn`` leaves out, and no other weights.

    Nothing follows the last turn that is learned. ValueError if there is none.
    """
    answers = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    unmarked = int(learn != "marked")
    learned = [at for at in answers if messages[at].get("weight", unmarked)]
    if learn == "last":
        learned = [at for at in learned if at == answers[-1]]
    if not learned:
        raise ValueError(_nothing(learn))
    return [_weighted(message, learned=at in learned) for at, message in enumerate(messages[: learned[-1] + 1])]


def _nothing(learn: str) -> str:
    if learn == "marked":
        return 'no answer is marked to be learned (mark it with "weight": 1, or omit --learn marked)'
    if learn == "last":
        return "the last answer has weight 0, so there is nothing to learn (omit --learn last, or --ignore weight)"
    return "every answer has weight 0, so there is nothing to learn (--ignore weight learns them all the same)"


def _weighted(message: Message, *, learned: bool) -> Message:
    (plain,) = without_weights([message])
    return plain if learned or message["role"] != "assistant" else {**plain, "weight": 0}


def without_weights(messages: Sequence[Message]) -> list[Message]:
    """The messages without their marks."""
    found = []
    for message in messages:
        plain = message.copy()
        plain.pop("weight", None)
        found.append(plain)
    return found


def same_weight(one: Message, other: Message, learn: str) -> bool:
    """Whether both are learned, or both are only context; before ``chosen``."""
    return one.get("weight", learn != "marked") == other.get("weight", learn != "marked")
