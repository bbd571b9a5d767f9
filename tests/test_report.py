"""The report says the verdict first, shows what there is, and obeys no text in the records."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from finetune.report import render

MACHINE = {"machine": "Linux x86_64, 2 cores", "python": "3.11.7", "versions": {"mlx": "0.32.4"}}
HASH = "5e" * 32
TOKEN = "hf_" + "aB3" * 11


def summary(right: int, low: float, high: float, kinds: dict[str, int]) -> dict[str, Any]:
    shares = {"accuracy": right / 4, "interval": [low, high], "right": right, "kinds": kinds}
    return {**shares, "stopped": 0.93, "mean_tokens": 41.2, "seconds": 33.1}


def side(value: float | None, kind: str) -> dict[str, Any]:
    return {"answer": "SELECT a\nFROM t", "value": value, "kind": kind, "reason": "4 rows, expected 3"}


def measures(factor: float) -> dict[str, Any]:
    keys = (
        "first_token_ms",
        "prompt_tokens_per_second",
        "decode_tokens_per_second",
        "batch_tokens_per_second",
    )
    steady = {"load_seconds": {"median": 1.2, "min": 1.1, "max": 1.3}}
    return steady | {
        key: {"median": 50 * factor, "min": 49 * factor, "max": 51 * factor} for key in (*keys, "peak_memory_mb")
    }


def records() -> dict[str, Any]:
    """The arguments of ``render``; of the five rows each has another outcome."""
    values = [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1.0, 1.0), (None, None)]
    rows = [
        {
            "prompt": f"Schema:\nQuestion: question {number}",
            "question": f"question {number}",
            "reference": "SELECT b FROM t",
            "base": side(base, "wrong_rows"),
            "tuned": side(tuned, "ok"),
        }
        for number, (base, tuned) in enumerate(values)
    ]
    evaluation = {
        "format": 1,
        "task": "sql",
        "metric": "execution accuracy",
        "split": "test",
        "n": 5,
        "scored": 4,
        "unscored": {"unscorable": 1},
        "model": "builtin",
        "adapter_path": "checkpoints",
        "base": summary(1, 0.02, 0.61, {"ok": 1, "wrong_rows": 3}),
        "tuned": summary(3, 0.3, 0.95, {"ok": 3, "no_sql": 1}),
        "verdict": "better",
        "explanation": "3 fixed, 1 broken; p = 0.01",
        "p": 0.01,
        "fixed": 3,
        "broken": 1,
        "rows": rows,
    }
    benchmark = {
        "format": 1,
        "machine": MACHINE,
        "device": "MLX on the CPU",
        "model": "builtin",
        "runs": 5,
        "speed": {"base": measures(1.0), "tuned": measures(0.9)},
        "quality": evaluation,
    }
    run = {
        "format": 1,
        "config": {"lora_rank": 16, "patience": None},
        "origins": {"lora_rank": "flag", "patience": "default"},
        "model": {"name": "builtin", "source": "builtin", "revision": HASH},
        "template_sha256": HASH,
        "data": {"folder": "data", "source": {"source": "builtin"}, "files": {"train.jsonl": HASH}},
        "machine": MACHINE,
        "device": "MLX on the CPU",
        "command": "python train.py --lora-rank 16",
        "result": {
            "steps": 800,
            "best_step": 20,
            "best_valid_loss": 0.41,
            "seconds": 240.1,
            "trainable_parameters": 4884480,
            "stopped_early": True,
        },
    }
    metrics = [
        {"step": 10, "loss": 1.2, "peak_memory_mb": 2100.0},
        {"step": 20, "loss": 0.9, "peak_memory_mb": 2150.0},
        {"step": 20, "valid_loss": 0.95, "best": True},
        {"step": 30, "valid_loss": 0.99, "best": False},
    ]
    dataset = {
        "format": 1,
        "type": "sql",
        "source": {"source": "a/repository", "revision": "abc"},
        "seed": 42,
        "split_rule": "no domain is in two splits",
        "read": 2003,
        "kept": 2000,
        "dropped": {"duplicate prompt": 3},
        "rows": {"train": 1800, "valid": 100, "test": 100},
        "files": {"train.jsonl": HASH},
    }
    return {
        "evaluation": evaluation,
        "benchmark": benchmark,
        "run": run,
        "metrics": metrics,
        "dataset": dataset,
    }


def without_base(evaluation: dict[str, Any]) -> dict[str, Any]:
    gone = ("base", "verdict", "explanation", "p", "fixed", "broken")
    rows = [{key: value for key, value in row.items() if key != "base"} for row in evaluation["rows"]]
    return {key: value for key, value in evaluation.items() if key not in gone} | {"rows": rows}


class Page(HTMLParser):
    """The elements with their attributes, and the text inside each kind of element."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts[self.inside] = self.texts.get(self.inside, "") + data

    def shape(self) -> list[tuple[str, list[str]]]:
        return [(tag, list(attributes)) for tag, attributes in self.elements]

    def values(self, attribute: str) -> list[str | None]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


@pytest.mark.parametrize(
    "verdict, sentence",
    [
        ("better", "Better: execution accuracy rose from 25.0 % to 75.0 %."),
        ("worse", "Worse: execution accuracy fell from 25.0 % to 75.0 %."),
        (
            "no evidence",
            "No evidence of a difference: execution accuracy was 25.0 % before training, 75.0 % after it.",
        ),
    ],
)
def test_the_answer_comes_first(verdict: str, sentence: str) -> None:
    given = records()
    given["evaluation"]["verdict"] = verdict
    html = render(**given).replace("\N{NO-BREAK SPACE}", " ")
    heading = re.sub("<[^>]*>", "", html[html.index("<h1>") : html.index("</h1>")])
    assert " ".join(heading.split()) == sentence
    assert "2.0 % to 61.0 % for the base model" in html


FREE_KEYS = ("kinds", "unscored", "versions", "config", "origins", "source", "dropped", "files")
OURS = ("better", "test")  # words that the page decides by


def spoilt(value: Any, attack: str, free: bool = False) -> Any:
    """The records with the attack in every text, and in every key that is not ours."""
    if isinstance(value, str):
        return value if value in OURS else attack + value
    if isinstance(value, dict):
        return {attack + key if free else key: spoilt(item, attack, key in FREE_KEYS) for key, item in value.items()}
    return [spoilt(item, attack) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>",
        "</style></title></svg></pre><img src=x onerror=alert(1)>",
        "\" onload=alert(1) x=\"' onload='alert(1)",
        "javascript:alert(1)//&lt;b&gt;",
        "{{ 7 * 7 }}{% endif %}<!--",
        "nul \0 escape \x1b override \u202e\u2066 half a character \ud800 عربي",
        "x" * 20_000,
    ],
    ids=lambda attack: attack[:12].encode("ascii", "replace").decode(),
)
def test_no_text_changes_the_page(attack: str) -> None:
    html = render(**spoilt(records(), attack))
    page = Page(html)
    assert page.shape() == Page(render(**records())).shape()
    assert all(str(target).startswith("#") or target == "data:," for target in page.values("href"))
    assert not set(html) & set("\0\x1b\u202e\u2066")
    html.encode("utf-8")
    shown = page.texts["pre"] + page.texts["p"]
    assert attack in shown or "nul \\x00 escape \\x1b override \\u202e\\u2066 half a character \\ud800 عربي" in shown


def test_tokens_of_the_hub_are_masked() -> None:
    html = render(**spoilt(records(), TOKEN + " "))
    assert "[token masked]" in html
    assert "hf_" not in html
    assert "hf_" not in render(**spoilt(records(), f"HF_TOKEN_{TOKEN}@"))


def test_the_page_stands_alone() -> None:
    html = render(**records())
    page = Page(html)
    policy = next(a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert "script" not in [tag for tag, _ in page.elements]
    assert "://" not in html and "url(" not in html.replace("url(#", "")
    assert page.values("src") == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert [a.get("role") for tag, a in page.elements if tag == "svg"] == ["img", "img"]


def test_the_same_records_give_the_same_page() -> None:
    assert render(**records()) == render(**records())


@pytest.mark.parametrize("missing", ["evaluation", "benchmark", "run", "metrics", "dataset"])
def test_what_is_missing_is_left_out(missing: str) -> None:
    whole, nothing = (
        records(),
        {"evaluation": None, "benchmark": None, "run": None, "metrics": [], "dataset": None},
    )
    render(**whole | {missing: nothing[missing]})
    alone = render(**nothing | {missing: whole[missing]})
    assert "Better" in alone if missing in ("evaluation", "benchmark") else "Not evaluated" in alone


def test_a_benchmark_of_the_tuned_model_alone() -> None:
    given = records()
    given["benchmark"] |= {"quality": without_base(given["evaluation"]), "speed": {"tuned": measures(1.0)}}
    html = render(**given | {"evaluation": None})
    assert "Not compared" in html and "--compare" in html
    assert "right 2" in html and "wrong 2" in html


def test_rows_that_cannot_be_judged_give_no_verdict() -> None:
    given = records()
    for name in ("base", "tuned"):
        given["evaluation"][name] |= {"accuracy": None, "interval": [0.0, 1.0], "kinds": {}}
    html = render(**given)
    assert "Not judged: none of the 5 rows" in html
    assert "Better" not in html


def test_long_conversations_are_judged_by_their_loss() -> None:
    made = records()
    evaluation = made["evaluation"]
    for name in ("base", "tuned"):
        evaluation[name] |= {"accuracy": None, "kinds": {}}
    evaluation |= {"decided_by": "loss per token", "differences": {"loss per token": {"base": 2.31, "tuned": 1.87}}}
    page = render(**made)
    assert "the loss per token of the references was 2.31 before training, 1.87 after it" in " ".join(page.split())
    assert "Better:" in page and "Not judged" not in page


def test_each_outcome_can_be_filtered() -> None:
    page = Page(render(**records()))
    examples = [a["class"] for tag, a in page.elements if tag == "details" and "example" in str(a.get("class"))]
    assert examples == [f"example outcome-{number}" for number in (1, 2, 3, 4, 5)]
    for number, outcome in enumerate(["fixed", "broken", "both wrong", "both right", "not judged"], start=1):
        assert f"section:has(#show-{number}:checked) .example:not(.outcome-{number})" in page.texts["style"]
        assert f"{outcome} 1" in page.texts["input"]


def test_a_change_inside_the_spread_is_not_called_a_change() -> None:
    html = render(**records())
    table = html[html.index('id="speed"') : html.index('id="examples"')]
    assert table.count(">within the spread<") == 1  # loading, whose ranges overlap
    for measure, tone in {"writing an answer": "bad", "peak memory": "good"}.items():
        row = table[table.index(measure) :].split("</tr>")[0]
        assert f'<td class="{tone}">−10.0\N{NO-BREAK SPACE}%</td>' in row


@pytest.mark.parametrize(
    "more, label",
    [
        ([], "0.950 at step 20"),
        ([{"step": 40, "valid_loss": 0.5, "best": True}], "0.500 at step 40"),
        (
            [{"step": 20, "valid_loss": 0.5, "best": True}],
            "0.500 at step 20",
        ),  # the step again, after a resume
        ([{"step": 40, "loss": float("nan")}, {"step": 40, "valid_loss": float("inf")}], "0.950 at step 20"),
    ],
)
def test_the_loss_chart_marks_the_best(more: list[dict[str, Any]], label: str) -> None:
    given = records()
    page = Page(render(**given | {"metrics": given["metrics"] + more}))
    assert any(f"best validation loss {label}" in str(text) for text in page.values("aria-label"))
