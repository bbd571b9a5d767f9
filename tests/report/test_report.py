"""The report says the verdict first, shows what there is, and obeys no text in the records."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from math import isfinite
from typing import Any

import pytest

from finetune.benchmark.tables import print_benchmark
from finetune.evaluation.scorecard import print_comparison
from finetune.records.benchmark import Repeats
from finetune.records.difference import Difference
from finetune.records.evaluation import TurnRecord
from finetune.report import render
from finetune.report.curve import curve, curve_picture
from finetune.report.texts import clean
from report_records import TOKEN, attacked, evaluation, labelled, measured, of_quality, records, spoilt


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
    "verdict, right, sentence",
    [
        ("better", (1, 3), "Better by executed SQL: execution accuracy rose from 25.0 % to 75.0 %."),
        ("worse", (3, 1), "Worse by executed SQL: execution accuracy fell from 75.0 % to 25.0 %."),
        (
            "no evidence",
            (1, 3),
            "No evidence of a difference by executed SQL: execution accuracy was 25.0 % before training, 75.0 % after it.",
        ),
    ],
)
def test_the_answer_comes_first(verdict: str, right: tuple[int, int], sentence: str) -> None:
    html = render(**judged(verdict, *right)).replace("\N{NO-BREAK SPACE}", " ")
    heading = re.sub("<[^>]*>", "", html[html.index("<h1>") : html.index("</h1>")])
    assert " ".join(heading.split()) == sentence
    assert "15 to 85 %" in html  # of two right answers in four


def judged(verdict: str, base: int, tuned: int) -> dict[str, Any]:
    """The records with this verdict, and so many right answers of four."""
    made = evaluation()
    sides = {"base": replace(made.base, accuracy=base / 4), "tuned": replace(made.tuned, accuracy=tuned / 4)}
    return of_quality(records(), verdict=verdict, **sides)


def test_it_says_by_how_much_and_at_what_cost() -> None:
    html = render(**records())
    tiles = text(html[html.index('class="tiles"') : html.index("<nav")])
    for shown in (
        "+0.0 points −56.6 to +56.6",
        "73 → 66 of 126 worse",
        "decode 0.90 × base 45.0 tokens/s; 0.88 to 0.92; fused 1.00 × base",
        "peak memory 640 MB answering; 2,150 MB training",
        "4 min 800 steps",
    ):
        assert shown in tiles


def test_other_adapters_are_named() -> None:
    given = judged("better", 1, 3)
    html = render(**of_quality(given, against="other/adapters"))
    assert "Better by executed SQL: execution accuracy is 75.0 %, with the other adapters 25.0 %." in text(html)
    assert "comparison is with the adapters in other/adapters" in text(html)
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
    html = render(**attacked(attack))
    page = Page(html)
    assert page.shape() == Page(render(**records())).shape()
    assert all(str(target).startswith("#") or target == "data:," for target in page.values("href"))
    assert not set(html) & set("\0\x1b\u202e\u2066")
    html.encode("utf-8")
    shown = page.texts["pre"] + page.texts["p"]
    assert attack in shown or "nul \\x00 escape \\x1b override \\u202e\\u2066 half a character \\ud800 عربي" in shown


def test_tokens_of_the_hub_are_masked() -> None:
    html = render(**attacked(TOKEN + " "))
    assert "[token masked]" in html
    assert "hf_" not in html
    assert "hf_" not in render(**attacked(f"HF_TOKEN_{TOKEN}@"))


@pytest.mark.parametrize(
    "words",
    [
        "from huggingface_hub import hf_hub_download",
        "hf_transfer",
        "hf_hub_url(repo_id)",
        "HF_TOKEN",
        "hf_",
        "the hf_inference_endpoint_configuration_of_this_model",
    ],
)
def test_words_that_only_begin_like_a_token_are_shown(words: str) -> None:
    assert clean(words) == words


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


def test_what_a_run_did_not_record_is_left_out() -> None:
    whole = records()
    run = replace(whole["run"], result=None, machine=None, started=None, origins={})
    html = render(**whole | {"run": run, "metrics": []})
    assert html.count("<svg") == 6 and ">training<" not in html and "Repeat it" in html


def test_a_benchmark_of_the_tuned_model_alone() -> None:
    made = replace(
        records()["benchmark"], quality=evaluation(base=False), history=None, **vars(measured({"tuned": 1.0}))
    )
    html = render(**records() | {"benchmark": made})
    assert "Not compared" in html and "--compare" in html and "Since last time" not in html
    assert "right 2" in html and "wrong 2" in html and "66 of 126" in text(html)


def unscored(given: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made = evaluation()
    sides = {name: replace(side, accuracy=None, kinds={}) for name, side in made.sides.items()}
    return of_quality(given, **sides, **changes)


def test_rows_that_cannot_be_scored_give_no_verdict() -> None:
    html = render(**unscored(records(), scored=0))
    assert "Not scored: none of the 5 rows" in text(html)
    assert "Better" not in html
    assert "Not judged: 1 of 5 rows: the reference tells nothing when it is run." in text(html)


def test_long_conversations_are_judged_by_their_loss() -> None:
    loss = Difference(2.31, 1.87, -0.44, -0.54, -0.34)
    for verdict, word in (("better", "fell"), ("worse", "rose")):
        given = unscored(
            records(),
            verdict=verdict,
            decided_by="loss per token",
            measure="loss only: no answer could be judged",
            differences={"loss per token": loss},
        )
        page = text(render(**given))
        assert (
            f"{verdict.capitalize()} by loss only: the loss per token of the references {word} from 2.31 to 1.87"
            in page
        )
        assert "−0.440 −0.540 to −0.340" in page and "Not scored" not in page


def shown(html: str) -> list[str]:
    """The classes of the examples, in their order."""
    return [str(a["class"]) for tag, a in Page(html).elements if tag == "details" and "example" in str(a.get("class"))]


def test_each_outcome_can_be_filtered_and_worse_rows_come_first() -> None:
    html = render(**records())
    page = Page(html)
    slugs = ["fixed", "broken", "both-wrong", "both-right", "not-scored"]
    assert shown(html) == [f"example is-{slugs[number]}" for number in (1, 0, 2, 3, 4)]
    for slug in slugs:
        assert f"section:has(#show-{slug}:checked) .example:not(.is-{slug})" in page.texts["style"]
        assert f"show-{slug}" in page.values("id")
        assert f"{slug.replace('-', ' ')} 1" in page.texts["input"]


def test_a_row_that_only_scored_less_got_worse_too() -> None:
    made = evaluation()
    rows = [*made.rows]
    rows[2] = replace(rows[2], base=replace(rows[2].base, value=0.62))
    given = of_quality(
        judged("better", 1, 3), decided_by="score", measure="word overlap only", worse_rows=[2, 1], rows=rows
    )
    made = given["benchmark"].quality
    scores = {name: replace(side, score=side.accuracy) for name, side in made.sides.items()}
    html = render(**of_quality(given, **scores))
    assert shown(html)[:2] == ["example is-both-wrong is-got-worse", "example is-broken"]
    assert "wrong rows 0.62" in html
    assert "Better by word overlap only: the mean score rose from 0.250 to 0.750." in text(html)


def test_a_ratio_is_coloured_only_if_enough_repeats_agree() -> None:
    given = records()
    rows = section(render(**given), "speed").split("</tr>")
    (decode,) = (row for row in rows if ">decode " in row)
    assert '<small class="bad">0.90 × base, 0.88 to 0.92</small>' in decode
    assert '<small class="">1.00 × base, 0.98 to 1.02</small>' in decode  # of the fused model
    (first_token,) = (row for row in rows if ">time to first token <small>ms<" in row)
    assert '<small class="bad">1.11 × base' in first_token
    few = render(**given | {"benchmark": replace(given["benchmark"], runs=5)})
    assert '<small class="">0.90 × base, 0.88 to 0.92</small>' in few


def test_a_huge_answer_is_cut() -> None:
    rows = [*evaluation().rows]
    rows[0] = replace(rows[0], tuned=replace(rows[0].tuned, answer="x" * 1_000_000))
    html = render(**of_quality(records(), rows=rows))
    assert "[950,000 more characters]" in html and len(html) < 200_000


def section(html: str, name: str) -> str:
    return html[html.index(f'id="{name}"') :].split("</section>")[0]


def test_what_changed_since_last_time() -> None:
    given = records()
    html = section(render(**given), "since")
    page = text(html)
    assert "No evidence of a difference : the tuned model gets 50.0 % of 4 rows right; on 2026-11-19 12:00" in page
    assert "more than the range of the repeats since 2026-11-19 12:00 ( checkpoints ): 1 of 18." in page
    assert html.count("<b>changed</b>") == 1 and '<small class="bad">−10\N{NO-BREAK SPACE}% from 50.0' in html
    assert html.count("<svg") == 3 and "2026-11-18 12:00 checkpoints other rows" in page
    assert "not readable as benchmarks: benchmark-0.json" in page

    made = given["benchmark"]
    two = replace(made.history, made=made.history.made[1:], answers=None, speeds=None, left_out=[])
    html = section(render(**given | {"benchmark": replace(made, history=two)}), "since")
    assert html.count(" not compared.") == 2 and "<svg" not in html and "Not judged" not in html


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the numbers are in the records; of what there is more than once only the first is looked at."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path
    elif is_dataclass(value):
        for field in fields(value):
            yield from numbers(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items() if len(path) < 2 or path[-1] == "parts" else [*value.items()][:1]:
            yield from numbers(item, (*path, key))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value if path == ("metrics",) else value[:1]):
            yield from numbers(item, (*path, at))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with another number at the end of the path."""
    if not path:
        return new
    key, rest = path[0], path[1:]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{key: changed(getattr(value, key), rest, new)})
    if isinstance(value, Mapping):
        return {**value, key: changed(value[key], rest, new)}
    return type(value)([changed(item, rest, new) if at == key else item for at, item in enumerate(value)])


STRANGE = [float("nan"), float("inf"), -float("inf"), 0, 0.0, -1, 1e308, 10**400, True]


@pytest.mark.faults
@pytest.mark.parametrize("strange", STRANGE, ids=lambda strange: str(strange)[:9])
def test_no_number_ends_the_page(strange: float) -> None:
    """A number that cannot be shown is a gap; the rest of the page is there."""
    for path in numbers(records()):
        given = changed(records(), path, strange)
        html = render(**given)
        charts = "".join(re.findall("<svg.*?</svg>", html, re.DOTALL))
        assert html.endswith("</html>") and not re.search(r'"[^"]*\b(nan|inf)\b', charts), path
        if path[0] == "metrics":
            curve_picture(given["metrics"])
        elif isinstance(strange, float) and "worse_rows" not in path:  # what was just measured; they are places of rows
            print_benchmark(given["benchmark"])
            print_comparison(given["benchmark"].quality, examples=1)


@pytest.mark.parametrize("strange", [float("nan"), float("inf"), -float("inf"), 0.0])
def test_a_chart_without_its_numbers_is_left_out(strange: float) -> None:
    whole = records()
    made = whole["benchmark"]
    latencies = {name: replace(one, p50=strange, all=[strange]) for name, one in made.latency_ms.items()}
    speeds = {name: {**side, "first_token_ms": Repeats(*3 * [strange])} for name, side in made.speed.items()}
    html = render(**whole | {"benchmark": replace(made, latency_ms=latencies, speed=speeds, load_seconds=strange)})
    drawn = strange == 0
    assert html.count("<svg") == (7 if drawn else 6)
    assert ("Latency, a dot for each answer" in html) == drawn and ("Loading took –" in text(html)) == (not drawn)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [2.0, 2.0, 2.0],
        [0.0, 0.0],
        [1e9, 1e-9],
        [-3.0, -1.0, 2.5],
        [float("nan"), 1.0, float("inf")],
        [float("nan")],
        [1e-300, 2e-300],
        [5.0 - step / 1000 for step in range(3000)],
    ],
    ids=lambda values: f"{len(values)} from {values[0]}",
)
@pytest.mark.parametrize("name", ["loss", "reward"])
def test_any_curve_can_be_drawn(values: list[float], name: str) -> None:
    metrics = [{"step": step, name: value} for step, value in enumerate(values, start=1)]
    metrics += [{"step": step, f"valid_{name}": value, "best": True} for step, value in enumerate(values[:5], start=1)]
    html = render(**records() | {"metrics": metrics})
    charts = "".join(re.findall("<svg.*?</svg>", html, re.DOTALL))
    assert not re.search(r'"[^"]*\b(nan|inf)\b', charts)
    assert charts.count("<svg") == (7 if any(map(isfinite, values)) else 6)
    assert (curve_picture(metrics) is not None) == any(map(isfinite, values))


def test_the_labels_are_shown_and_what_the_overall_figure_hides() -> None:
    html = render(**labelled(12)).replace("\N{NO-BREAK SPACE}", " ")
    top = html[: html.index("<main>")]
    assert "Never right: Damaged item (0 of 16, before 3), Feature (0 of 12, before 12)." in top
    part = text(html[html.index('id="labels"') : html.index('id="answers"')])
    for shown in (
        "Feature → Late delivery 12",
        "“I think so”",
        "With a confidence of at least 0.83",
        "Refund",
        "23.8 %",
    ):
        assert shown in part
    assert html.count('class="bad">Feature') == 1


@pytest.mark.parametrize("count", [2, 40, 200])
def test_any_number_of_labels_can_be_shown(count: int) -> None:
    page = Page(render(**labelled(count)))
    assert sum(tag == "rect" and "fill-opacity" in of for tag, of in page.elements) > 0 or count == 200
    wide = [of for tag, of in page.elements if tag == "svg" and "min-width" in str(of.get("style"))]
    assert len(wide) == (count == 40)


def test_no_label_changes_the_page() -> None:
    attack = "</text></svg><script>alert(1)</script>"
    given = {name: spoilt(record, attack) if name != "metrics" else record for name, record in labelled(5).items()}
    assert Page(render(**given)).shape() == Page(render(**labelled(5))).shape()


def test_the_terminal_shows_the_labels(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("60", "100"):
        monkeypatch.setenv("COLUMNS", columns)
        print_comparison(labelled(12)["benchmark"].quality, 0)
    narrow, wide = capsys.readouterr().out.split("Verdict")[:2]
    assert "Confusion matrix" in wide and "Confusion matrix" not in narrow
    assert "Most often confused: Feature -> Late delivery 12" in narrow
    assert "But never right: Damaged item (0 of 16, before 3)" in wide
    assert all(len(line.rstrip()) <= 60 for line in narrow.splitlines())


@pytest.mark.parametrize(
    ("losses", "steep"), [([8.0, 1.0, 0.4], True), ([2.0, 1.0, 0.5], False), ([8.0, 0.0], False), ([0.1], False)]
)
def test_a_loss_that_falls_far_is_drawn_on_a_logarithmic_axis(losses: list[float], steep: bool) -> None:
    metrics = [{"step": step, "valid_loss": loss} for step, loss in enumerate(losses)]
    found = curve(metrics)
    assert found and found.is_steep == steep
    assert curve_picture(metrics, "a $title_ of_ a run") != curve_picture(metrics)


def test_the_page_names_run_rows_and_date() -> None:
    given = records()
    title = re.findall("<title>(.*?)</title>", render(**given))[0].replace("\N{NO-BREAK SPACE}", " ")
    assert given["benchmark"].quality.adapter_path in title
    assert given["dataset"].source.source.rpartition("/")[2] in title
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d – fine-tuning report$", title)


def test_an_example_has_the_whole_conversation_and_a_common_system_message_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    quality = records()["benchmark"].quality
    system = TurnRecord("system", "You are <b>kind</b>.")
    turns = [system, *(TurnRecord("user" if i % 2 else "assistant", f"turn {i} " + "x" * 500) for i in range(7))]
    rows = [replace(quality.rows[0], before=turns, after=[TurnRecord("tool", "42 parcels")], tools=["find", "send"])]
    rows += [replace(row, before=[system]) for row in quality.rows[1:]]
    html = render(**of_quality(records(), rows=rows))
    assert html.count("You are &lt;b&gt;kind&lt;/b&gt;.") == 1 and html.count("the conversation</h3>") == 1
    shown = text(html)
    order = [shown.index(part) for part in ("find, send", "turn 0", "turn 6", "Question: question 0", "42 parcels")]
    assert order == sorted(order)
    rows[1] = replace(rows[1], before=[TurnRecord("system", "Another one.")])
    html = render(**of_quality(records(), rows=rows))
    assert html.count("You are &lt;b&gt;kind&lt;/b&gt;.") == len(rows) - 1 and "Another one." in html
    capsys.readouterr()
    print_comparison(replace(quality, rows=rows), 1)
    said = capsys.readouterr().out
    assert (
        "[3 earlier turns not shown]" in said
        and "You are <b>kind" in said
        and "turn 2" not in said
        and "turn 3" in said
        and "42 parcels" in said
    )
    assert "[107 more characters]" in said
