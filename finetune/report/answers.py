"""What an evaluation says of the answers, as the page shows it. A key that an older record lacks leaves its row out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from finetune.report.texts import number, percent, signed

Record = Mapping[str, Any]

_LOSS = "loss per token"
_SHOWN = 50_000  # characters of a text; what is cut is counted

# outcome of a row: did the base model get it right, did the tuned one; without a base model the first is None
_OUTCOMES = {
    (False, True): "fixed",
    (True, False): "broken",
    (False, False): "both wrong",
    (True, True): "both right",
    (None, True): "right",
    (None, False): "wrong",
}
_NOT_JUDGED = "not judged"
_WORSE = "got worse"
_TONES = {"fixed": "good", "right": "good", "broken": "bad", "wrong": "bad", "better": "good", "worse": "bad"}

# of a side of the record: key, what it is
_HABITS = {
    "formatted": ("keeps to the form", percent),
    "stopped": ("stops by itself", percent),
    "repetition": ("repeats itself", percent),
    "mean_tokens": ("tokens of an answer", number),
}


def sides(evaluation: Record | None) -> dict[str, Record]:
    return {name: evaluation[name] for name in ("base", "tuned") if name in evaluation} if evaluation else {}


def labels(evaluation: Record | None) -> dict[str, str]:
    """What the sides are called: the base model's place may be taken by other adapters."""
    return {"base": "other" if evaluation and evaluation.get("against") else "base", "tuned": "tuned"}


def judged(evaluation: Record | None) -> bool:
    return bool(evaluation) and all(side["accuracy"] is not None for side in sides(evaluation).values())


def headline(evaluation: Record | None) -> dict[str, str]:
    """The answer: a ``word``, its ``tone``, and the ``sentence`` after it."""

    def line(word: str, sentence: str, tone: str = "") -> dict[str, str]:
        return {"word": word, "sentence": sentence, "tone": tone}

    if not evaluation:
        return line("Not evaluated", "nothing is known yet about the answers of this model.")
    decided_by = evaluation.get("decided_by")
    if not judged(evaluation) and decided_by != _LOSS:
        return line("Not judged", f"none of the {evaluation['n']} rows could be scored.")
    base, tuned = evaluation.get("base"), evaluation["tuned"]
    if not base:
        return line("Not compared", f"the tuned model has {percent(tuned['accuracy'])} {evaluation['metric']}.")
    if decided_by == _LOSS:
        loss = evaluation["differences"][_LOSS]
        measure, before, after = "the loss per token of the references", number(loss["base"]), number(loss["tuned"])
    elif decided_by == "score":
        measure, before, after = "the mean score", number(base["score"]), number(tuned["score"])
    else:
        measure, before, after = evaluation["metric"], percent(base["accuracy"]), percent(tuned["accuracy"])
    verdict = evaluation["verdict"]
    even = verdict == "no evidence"
    if evaluation.get("against"):
        told = f"{measure} is {after}, with the other adapters {before}."
    elif even or decided_by == _LOSS:
        told = f"{measure} was {before} before training, {after} after it."
    else:
        told = f"{measure} {'rose' if verdict == 'better' else 'fell'} from {before} to {after}."
    return line("No evidence of a difference" if even else verdict.capitalize(), told, _TONES.get(verdict, ""))


def decisive(evaluation: Record | None) -> dict[str, str] | None:
    """The difference that the verdict is about, with its interval; None where there is none or the record has none."""
    difference = (evaluation or {}).get("differences", {}).get((evaluation or {}).get("decided_by"))
    if difference is None or evaluation is None:
        return None
    return _difference(difference, evaluation["decided_by"] != _LOSS, evaluation["decided_by"] == evaluation["metric"])


def measures(evaluation: Record | None) -> list[dict[str, Any]]:
    """A row for each measure: ``what``, a (text, small text) for each side in ``cells``, and the ``difference``."""
    if not evaluation:
        return []
    shown = list(sides(evaluation).values())
    differences = evaluation.get("differences", {})
    rows = []

    def add(what: str, cells: Iterable[tuple[str, str]], difference: dict[str, str] | None = None) -> None:
        rows.append({"what": what, "cells": list(cells), "difference": difference})

    metric = evaluation["metric"]
    if judged(evaluation):
        cells = [(percent(side["accuracy"]), " to ".join(percent(end) for end in side["interval"])) for side in shown]
        add(metric, cells, _difference(differences.get(metric), shares=True))
        add("right answers", ((str(side["right"]), f"of {evaluation['scored']}") for side in shown))
        if any(side.get("score", side["accuracy"]) != side["accuracy"] for side in shown):
            add("mean score", ((f"{side['score']:.3f}", "") for side in shown))
    for part in shown[-1].get("parts", {}):
        cells = [(number(side["parts"][part]) if part in side["parts"] else "–", "") for side in shown]
        add(part, cells, _difference(differences.get(part)))
    if all("loss_per_token" in side for side in shown):
        cells = [(f"{side['loss_per_token']:.3f}", "") for side in shown]
        add(_LOSS, cells, _difference(differences.get(_LOSS), more_is_better=False))
    for key, (what, write) in _HABITS.items():
        if all(side.get(key) is not None for side in shown):
            add(what, ((write(side[key]), "") for side in shown))
    return rows


def _difference(found: Record | None, more_is_better: bool = True, shares: bool = False) -> dict[str, str] | None:
    """The difference in ``text`` and its 95 % interval in ``small``; it is good or bad where the interval leaves out 0."""
    if found is None:
        return None
    write = (lambda value: signed(100 * value, 1)) if shares else (lambda value: signed(value, 3))
    text = write(found["difference"]) + (" points" if shares else "")
    tone = ""
    if found["low"] is None:
        return {"text": text, "small": "too few rows", "tone": ""}
    if found["low"] > 0 or found["high"] < 0:
        tone = "good" if (found["low"] > 0) == more_is_better else "bad"
    return {"text": text, "small": f"{write(found['low'])} to {write(found['high'])}", "tone": tone}


def forgotten(evaluation: Record | None) -> dict[str, Any] | None:
    """Of the general questions: the verdict, and the rows that only one side got right."""
    general = (evaluation or {}).get("general")
    if not general or "tuned" not in general:
        return None
    lost = [row for row in general.get("rows", []) if _outcome(row) == "broken"]
    won = [row for row in general.get("rows", []) if _outcome(row) == "fixed"]
    tone = _TONES.get(general.get("verdict", ""), "")
    names = [name for name in ("base", "tuned") if name in general]
    return {"n": general["n"], "names": names, "record": general, "lost": lost, "won": won, "tone": tone}


def kinds(evaluation: Record | None) -> list[str]:
    """Kinds of answers, "ok" first, then the most frequent ones."""
    total: Counter[str] = Counter()
    for side in sides(evaluation).values():
        total.update(side["kinds"])
    return sorted(total, key=lambda kind: (kind != "ok", -total[kind], kind))


def examples(evaluation: Record | None) -> list[dict[str, Any]]:
    """Every row with its outcome; those that got worse come first, the worst at the top, then the order of the rows."""
    if not evaluation:
        return []
    rows = evaluation["rows"]
    outcomes = [_outcome(row) for row in rows]
    worse = evaluation.get("worse_rows", [i for i, outcome in enumerate(outcomes) if outcome == "broken"])
    first = {i: place for place, i in enumerate(worse)}
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    for i in sorted(range(len(rows)), key=lambda i: (first.get(i, len(rows)), i)):
        groups = [outcomes[i]] + ([_WORSE] if i in first and outcomes[i] != "broken" else [])
        tone = "bad" if i in first else _TONES.get(outcomes[i], "")
        # one of each group stands open, so that a page on paper shows it
        found.append(
            {"number": i + 1, "row": rows[i], "groups": groups, "tone": tone, "open": not seen.issuperset(groups)}
        )
        seen.update(groups)
    return found


def groups(shown: Sequence[Record]) -> dict[str, int]:
    """How many examples there are of each group that occurs."""
    counts = Counter(group for example in shown for group in example["groups"])
    return {group: counts[group] for group in [_WORSE, *_OUTCOMES.values(), _NOT_JUDGED] if counts[group]}


def _outcome(row: Record) -> str:
    if row["tuned"]["value"] is None:
        return _NOT_JUDGED
    base = row["base"]["value"] == 1 if "base" in row else None
    return _OUTCOMES[base, row["tuned"]["value"] == 1]


def mark(side: Record) -> dict[str, str]:
    """What became of an answer: its kind and, where it is no yes or no, its score."""
    value = side["value"]
    graded = value is not None and value not in (0, 1)
    tone = "good" if value == 1 else "bad" if value == 0 else ""
    return {"text": f"{side['kind'].replace('_', ' ')}{f' {value:.2f}' if graded else ''}", "tone": tone}


def cut(text: str) -> str:
    more = len(text) - _SHOWN
    return text if more <= 0 else f"{text[:_SHOWN]}\n[{more:,} more characters]"
