"""Facts and style marks of long texts: what is found, what is the same, and what cannot be told."""

import pytest

from finetune.tasks.draft_facts import facts, known, names_hidden
from finetune.tasks.draft_marks import Mark, closes, closings, openings, opens


def found(text: str) -> list[tuple[str, str]]:
    return [(fact.kind, fact.text) for fact in facts(text)]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("We offer a 7-day return.", [("number", "7-day")]),
        ("It was $1,234.50, or 15 % less.", [("number", "$1,234.50"), ("number", "15 %")]),
        ("Sent on 3 May, again on May 5th, 2024.", [("date", "3 May"), ("date", "May 5th, 2024")]),
        ("By 2024-05-03 or 03.05.2024 or Monday.", [("date", "2024-05-03"), ("date", "03.05.2024"), ("date", "Monday")]),
        ("Your order #1234 and AB-99812 are here.", [("id", "#1234"), ("id", "AB-99812")]),
        ("Write to help@north.example or see https://north.example/faq.", [
            ("e-mail address", "help@north.example"), ("link", "https://north.example/faq"),
        ]),
        ("Hi Hans, we asked Anna's team. The refund is due. I am sorry.", [("name", "Hans"), ("name", "Anna's")]),
        ("1. Open it.\n2. Close it.", []),  # items of a list
        ("It costs 5.", [("number", "5")]),
        ("See north.de for more.", [("link", "north.de")]),
        ("您的订单12345已发货", [("number", "12345已发货")]),
    ],
)  # fmt: skip
def test_facts_of_a_text(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "said, prompt",
    [
        ("1,234.50 EUR", "1234.5"),
        ("1.234,50 EUR", "1,234.50"),
        ("0,125 l", "0.1250"),
        ("1.234 EUR", "1,234"),
        ("May 3rd", "on the 3 May 2024"),
        ("3 May", "03.05.2024"),
        ("order #1234", "my order 1234"),
        ("AB-99812", "ab 99812"),
        ("2 weeks", "for two weeks"),
        ("hi Hans", "this is hans"),
        ("https://www.north.de/a/", "north.de/a"),
        ("12 Uhr", "um zwölf Uhr"),
        ("٣ أيام", "3 days"),
    ],
)
def test_facts_are_known_in_another_way_of_writing(said: str, prompt: str) -> None:
    assert all(fact.keys & known(prompt) for fact in facts(said)) and facts(said)


@pytest.mark.parametrize(
    "said, prompt",
    [("1,234.50", "1234.05"), ("3 May", "5 June"), ("AB-99812", "AB-99821"), ("Hans", "Hanna"), ("5 May 2024", "5 May 2023"),
     ("14:30", "14:03"), ("a@b.example", "a@c.example"), ("7-day", "17-day")],
)  # fmt: skip
def test_other_facts_are_not_known(said: str, prompt: str) -> None:
    assert not any(fact.keys & known(prompt) for fact in facts(f"so {said}"))


def test_names_cannot_be_told_where_nouns_have_capitals_or_nothing_has() -> None:
    german = (
        "wir haben Ihre Bestellung gestern an das Lager gegeben und senden das Paket mit der Rechnung per Post. " * 3
    )
    english = "we have sent your order to the warehouse, and Anna will send the parcel with the invoice by post. " * 3
    assert "German" in (names_hidden([german]) or "") and names_hidden([english]) is None
    assert "no capital letters" in (names_hidden(["ご注文の商品は明日お届けする予定です。" * 9]) or "")


NAMES = ("Hans", "Maria Lopez", "Øyvind", "Anna", "Peter", "Li", "Zoë", "Tom", "Eva", "Ida")
TEXTS = [
    f"Hi {name}, thanks for getting in touch! 🌱\nAbout point {i}: {i * 'so '}it is done.\n\nBest,\nTeam Northwind"
    for i, name in enumerate(NAMES)
]


def test_openings_and_closings_that_texts_share() -> None:
    (begin,), (end,) = openings(TEXTS, NAMES), closings(TEXTS, NAMES)
    assert (begin.text, begin.count) == ("Hi NAME, thanks for getting in touch!", 10)
    assert (end.text, end.count) == ("Best, Team Northwind", 10)
    assert opens("hi Karl  von Berg,\nthanks for getting in touch! And", begin)
    assert all(opens(text, begin) and closes(text, end) for text in TEXTS)
    for other in ("Hello Hans, thanks", "Hi", "", "Thanks for getting in touch! Hi Hans,"):
        assert not opens(other, begin)
    assert not closes("it is done.\nBest,\nTeam Northwind\nPS: and more", end)


def test_several_ways_of_a_team_are_several_marks() -> None:
    some = [f"Dear {name},\n{TEXTS[i].partition('!')[2]}" for i, name in enumerate(NAMES[:4])]
    assert [mark.text for mark in openings([*TEXTS[:6], *some], [*NAMES[:6], *NAMES[:4]])] == [
        "Hi NAME, thanks for getting in touch!",
        "Dear NAME,",
    ]
    one_line = [f"Hello! Point {i} is done, see you. Your Northwind team." for i in range(9)]
    assert [mark.text for mark in closings(one_line, [""] * 9)] == ["Your Northwind team."]


def test_texts_that_begin_in_their_own_ways_have_no_mark() -> None:
    texts = [f"{word} went to {word} and back" for word in "abcdefghij"]
    assert openings(texts, [""] * 10) == [] and openings([], []) == []
    assert openings([f"The {word} is here" for word in "abcdefghij"], [""] * 10) == []  # one word is no greeting


def test_a_name_may_have_several_words() -> None:
    assert opens("Dear Dr. Smith,", Mark(("Dear", "NAME", ","), 9))
    assert not opens("Dear one two three four,", Mark(("Dear", "NAME", ","), 9))
