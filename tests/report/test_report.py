"""The report says the verdict first, shows what there is, and obeys no text in the records."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from finetune import report
from finetune.report import render
from report_records import FREE_KEYS, TOKEN, difference, measures, older, records, spoilt


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
        """Without tabindex, which only long texts have."""
        return [(tag, [name for name in attributes if name != "tabindex"]) for tag, attributes in self.elements]

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
    assert "2.0 % to 61.0 %" in html


def test_it_says_by_how_much_and_at_what_cost() -> None:
    html = render(**records())
    tiles = text(html[html.index('class="tiles"') : html.index("<nav")])
    for told in (
        "+50.0 points +40.0 to +60.0",
        "73 → 66 of 126 no evidence of a change",
        "0.90 × base 45.0 tokens/s; 0.88 to 0.92; fused 1.00 × base",
        "640 MB answering; 2,150 MB training",
        "4 min 800 steps",
    ):
        assert told in tiles


def test_other_adapters_are_named() -> None:
    given = records()
    given["evaluation"]["against"] = "other/adapters"
    html = render(**given)
    assert "Better: execution accuracy is 75.0 %, with the other adapters 25.0 %." in text(html)
    assert "compared with the adapters in other/adapters" in text(html)
    assert "before training" not in html and ">base<" not in html[: html.index('id="speed"')]


def text(html: str) -> str:
    """What is read of it, in one line."""
    return " ".join(re.sub("<[^>]*>", " ", html).replace("\N{NO-BREAK SPACE}", " ").split())


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
    digest = base64.b64encode(
        hashlib.sha256(re.findall("<script>(.*?)</script>", html, re.DOTALL)[0].encode()).digest()
    ).decode()
    assert str(policy).startswith(f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; ")
    assert [a for tag, a in page.elements if tag == "script"] == [{}]
    assert "://" not in html and "url(" not in html.replace("url(#", "")
    assert page.values("src") == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert [a.get("role") for tag, a in page.elements if tag == "svg"] == ["img"] * 7


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
    assert ("python benchmark.py --compare" in alone) == ("Not evaluated" in alone)


@pytest.mark.parametrize("given", [records, older])
@pytest.mark.parametrize("part", ["evaluation", "benchmark", "run", "dataset"])
def test_a_key_that_came_later_may_be_missing(given: Any, part: str) -> None:
    """Each key that the first format had not, left out alone."""
    whole, first = given(), older()
    for key in set(whole[part]) - set(first[part]):
        render(**whole | {part: {name: value for name, value in whole[part].items() if name != key}})


def test_records_of_the_first_format() -> None:
    html = text(render(**older()))
    assert "Better: execution accuracy rose from 25.0 % to 75.0 %." in html
    assert "45.0 44.1 to 45.9 0.90 × base" in html
    assert "45 MB answering" not in html and "45.0 MB answering" in html


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
    assert "Not judged: none of the 5 rows" in text(html)
    assert "Better" not in html


def test_long_conversations_are_judged_by_their_loss() -> None:
    made = records()
    evaluation = made["evaluation"]
    for name in ("base", "tuned"):
        evaluation[name] |= {"accuracy": None, "kinds": {}}
    evaluation |= {"decided_by": "loss per token", "differences": {"loss per token": difference(2.31, 1.87)}}
    page = text(render(**made))
    assert "Better: the loss per token of the references was 2.31 before training, 1.87 after it" in page
    assert "−0.440 −0.540 to −0.340" in page and "Not judged" not in page


def shown(html: str) -> list[str]:
    """The classes of the examples, in their order."""
    return [str(a["class"]) for tag, a in Page(html).elements if tag == "details" and "example" in str(a.get("class"))]


def test_each_outcome_can_be_filtered_and_worse_rows_come_first() -> None:
    html = render(**records())
    page = Page(html)
    slugs = ["fixed", "broken", "both-wrong", "both-right", "not-judged"]
    assert shown(html) == [f"example is-{slugs[number]}" for number in (1, 0, 2, 3, 4)]
    for slug in slugs:
        assert f"section:has(#show-{slug}:checked) .example:not(.is-{slug})" in page.texts["style"]
        assert f"show-{slug}" in page.values("id")
        assert f"{slug.replace('-', ' ')} 1" in page.texts["input"]


def test_a_row_that_only_scored_less_got_worse_too() -> None:
    given = records()
    given["evaluation"] |= {"decided_by": "score", "worse_rows": [2, 1]}
    given["evaluation"]["rows"][2]["base"]["value"] = 0.62
    html = render(**given)
    assert shown(html)[:2] == ["example is-both-wrong is-got-worse", "example is-broken"]
    assert "wrong rows 0.62" in html
    assert "Better: the mean score rose from 0.250 to 0.750." in text(html)


def test_a_change_inside_the_spread_has_no_colour() -> None:
    given = records()
    html = render(**given)
    table = html[html.index('id="speed"') : html.index('id="examples"')]
    for measure, told in {
        "writing an answer": '<small class="bad">0.90 × base, 0.88 to 0.92</small>',
        "first token": '<small class="">1.11 × base, 1.00 to 1.22</small>',
    }.items():
        assert told in table[table.index(measure) :].split("</tr>")[0]
    given["benchmark"]["runs"] = 5  # too few to say
    assert '<small class="">0.90 × base, 0.88 to 0.92</small>' in render(**given)
    html = render(**older())
    table = html[html.index('id="speed"') : html.index('id="examples"')]
    assert table.count(">within the spread<") == 1  # loading, whose ranges overlap
    for measure, tone in {"writing an answer": "bad", "peak memory": "good"}.items():
        row = table[table.index(measure) :].split("</tr>")[0]
        assert f'<small class="{tone}">0.90 × base</small>' in row


def test_a_huge_answer_is_cut() -> None:
    given = records()
    given["evaluation"]["rows"][0]["tuned"]["answer"] = "x" * 1_000_000
    html = render(**given)
    assert "[950,000 more characters]" in html and len(html) < 300_000


def section(html: str, name: str) -> str:
    return html[html.index(f'id="{name}"') :].split("</section>")[0]


def test_what_changed_since_last_time() -> None:
    given = records()
    html = section(render(**given), "since")
    page = text(html)
    assert "No evidence of a difference : the tuned model gets 75.0 % of 4 rows right; on 2026-11-19 12:00" in page
    assert "beyond the spread of the repeats since 2026-11-19 12:00 ( checkpoints ): 1 of 6." in page
    assert html.count("<b>changed</b>") == 1 and '<small class="bad">−10\N{NO-BREAK SPACE}% from 50.0' in html
    assert html.count("<svg") == 3 and "2026-11-18 12:00 checkpoints other rows" in page
    assert "not written by this version: benchmark-0.json" in page

    given["benchmark"]["history"] |= {"answers": None, "speeds": None, "left_out": []}
    del given["benchmark"]["history"]["made"][0]  # two make no line
    html = section(render(**given), "since")
    assert html.count(" not compared.") == 2 and "<svg" not in html and "Left out" not in html

    del given["benchmark"]["history"]
    assert "Since last time" not in render(**given)


def keys(value: Any, free: bool = False) -> set[str]:
    """The keys of a record that are its schema, not data."""
    if isinstance(value, list):
        return {key for item in value for key in keys(item)}
    if not isinstance(value, dict):
        return set()
    return (set() if free else set(value)) | {
        key for name, item in value.items() for key in keys(item, name in FREE_KEYS)
    }


def test_every_key_is_written_down() -> None:
    schema = (Path(report.__file__).parent / "SCHEMA.md").read_text(encoding="utf-8")
    given = records()
    written = set(re.findall("`([^`]+)`", schema))
    assert not (keys(given["evaluation"]) | keys(given["benchmark"])) - written


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
