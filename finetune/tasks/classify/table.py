"""What answers say of each label: precision, recall and F1, what was taken for what, and labels that were invented."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb

from finetune.records.classes import Classes, LabelScore, SideClasses
from finetune.tasks.words import plain

_INVENTED = 50  # that are kept
_CLEARLY = 0.05


def classes(
    labels: Sequence[str],
    expected: Sequence[Sequence[str]],
    said: Mapping[str, Sequence[Sequence[str]]],
    *,
    multi: bool,
) -> Classes:
    """The record of all labels. ``expected`` are the labels of each row; ``said`` is what each side's answers name, which
    may be no label; with ``multi`` a row can have several."""
    sides = {name: _side(labels, expected, answers, multi=multi) for name, answers in said.items()}
    alone = Counter(row[0] for row in expected if len(row) == 1)
    majority, count = max(alone.items(), key=lambda item: item[1], default=("", 0))
    return Classes(
        several=multi,
        majority=majority,
        majority_share=count / max(1, len(expected)),
        tuned=sides["tuned"],
        base=sides.get("base"),
        worse=_worse(labels, expected, said) if "base" in said else (),
    )


def _side(
    labels: Sequence[str], expected: Sequence[Sequence[str]], said: Sequence[Sequence[str]], *, multi: bool
) -> SideClasses:
    names = {plain(label): label for label in labels}
    found = [{names[plain(one)] for one in answer if plain(one) in names} for answer in said]
    others = [[one for one in answer if plain(one) not in names] for answer in said]
    scores = {label: _score(label, expected, found) for label in labels}
    f1 = [score.f1 for score in scores.values() if score.n and score.f1 is not None]
    right = sum(score.right for score in scores.values())
    named = sum(map(len, found)) + sum(map(len, others))
    wanted = sum(map(len, expected))
    invented = Counter(one for answer in others for one in answer)
    return SideClasses(
        labels=scores,
        macro_f1=sum(f1) / len(f1) if f1 else None,
        micro_f1=2 * right / (named + wanted) if wanted else None,
        confusion=[] if multi else _confusion(labels, expected, found),
        invented=dict(invented.most_common(_INVENTED)),
        n_invented=sum(map(bool, others)),
    )


def _score(label: str, expected: Sequence[Sequence[str]], found: Sequence[set[str]]) -> LabelScore:
    n = sum(label in row for row in expected)
    answered = sum(label in answer for answer in found)
    right = sum(label in row and label in answer for row, answer in zip(expected, found, strict=True))
    precision = right / answered if answered else None
    recall = right / n if n else None
    f1 = 2 * right / (n + answered) if n + answered else None
    return LabelScore(n, answered, right, precision, recall, f1)


def _confusion(labels: Sequence[str], expected: Sequence[Sequence[str]], found: Sequence[set[str]]) -> list[list[int]]:
    """Rows of each label by what was answered; the last column is what is no label."""
    at = {label: number for number, label in enumerate(labels)}
    counts = [[0] * (len(labels) + 1) for _ in labels]
    for row, answer in zip(expected, found, strict=True):
        counts[at[row[0]]][at[next(iter(answer))] if answer else len(labels)] += 1
    return counts


def _worse(
    labels: Sequence[str], expected: Sequence[Sequence[str]], said: Mapping[str, Sequence[Sequence[str]]]
) -> list[str]:
    """The labels of which the tuned model gets so many fewer rows right that chance does not explain it."""
    found = []
    for label in labels:
        rows = [at for at, row in enumerate(expected) if label in row]
        base, tuned = ([plain(label) in map(plain, said[side][at]) for at in rows] for side in ("base", "tuned"))
        fixed = sum(after and not before for before, after in zip(base, tuned, strict=True))
        broken = sum(before and not after for before, after in zip(base, tuned, strict=True))
        if broken > fixed and _sign_test(fixed, broken) < _CLEARLY:
            found.append(label)
    return found


def _sign_test(fixed: int, broken: int) -> float:
    """Two-sided p of the exact McNemar test."""
    changed = fixed + broken
    tail = sum(comb(changed, k) for k in range(min(fixed, broken) + 1)) / 2**changed
    return min(1.0, 2 * tail)
