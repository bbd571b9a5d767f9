"""The alpaca task: its rows are reproducible and apart from each other, and its scorer takes what is right and no more."""

import json
import random
import time
from collections.abc import Callable
from datetime import datetime
from itertools import islice, permutations
from typing import Any

import pytest

from finetune.tasks.alpaca.rows import CHECKS, KINDS, generate
from finetune.tasks.alpaca.task import ALPACA, builtin, score, to_messages, token_f1

ROWS = list(islice(generate("train", 5), 2000))
BY_KIND = {kind.name: [row for row in ROWS if row["kind"] == kind.name] for kind in KINDS}


SOLUTIONS: dict[str, Callable[[str], object]] = {
    "addition": eval,
    "subtraction": eval,
    "multiplication": lambda text: eval(text.replace("x", "*")),
    "division": lambda text: eval(text.replace("/", "//")),
    "percentage": lambda text: round(eval(text.replace("% of ", "/100*"))),
    "total": lambda text: eval(text.replace(",", "+")),
    "next_number": lambda text: 2 * int(text.split(", ")[3]) - int(text.split(", ")[2]),
    "sort_words": lambda text: ", ".join(sorted(text.split(", "))),
    "sort_words_backwards": lambda text: ", ".join(sorted(text.split(", "))[::-1]),
    "sort_numbers": lambda text: ", ".join(map(str, sorted(eval(text)))),
    "sort_numbers_down": lambda text: ", ".join(map(str, sorted(eval(text))[::-1])),
    "largest": lambda text: max(eval(text)),
    "smallest": lambda text: min(eval(text)),
    "iso_date": lambda text: datetime.strptime(text, "%d %B %Y").date(),
    "clock": lambda text: datetime.strptime(text.replace(".", ""), "%I:%M %p").strftime("%H:%M"),
    "earlier_date": lambda text: min(text.split(" or "), key=lambda day: datetime.strptime(day, "%d %B %Y")),
    "last_name_first": lambda text: ", ".join(text.split()[::-1]),
    "title_case": str.title,
    "reverse_words": lambda text: " ".join(text.split()[::-1]),
    "count_words": lambda text: text.count(" ") + 1,
}


def prompt(row: dict[str, Any]) -> str:
    return to_messages(row)[0]["content"]


def test_a_smaller_count_is_a_beginning_and_another_seed_gives_other_rows():
    few, many = builtin({"train": 100, "test": 10}, 1), builtin({"train": 300, "test": 50}, 1)
    assert few == {"train": many["train"][:100], "test": many["test"][:10]}
    assert not {prompt(row) for row in few["train"]} & {prompt(row) for row in builtin({"train": 100}, 2)["train"]}


@pytest.mark.slow
def test_no_prompt_comes_twice_whatever_the_split_and_the_seed():
    rows = builtin({"train": 14_000, "valid": 2_000, "test": 4_000}, 0)
    of_split = {split: {prompt(row) for row in rows[split]} for split in rows}
    assert sum(map(len, of_split.values())) == 20_000 == len(set().union(*of_split.values()))
    others = builtin({"valid": 1000, "test": 2000}, 1)
    assert not of_split["train"] & {prompt(row) for split in others.values() for row in split}


@pytest.mark.slow
def test_running_out_of_rows_is_said():
    with pytest.raises(ValueError, match=r"only \d+ builtin alpaca rows exist for valid, not 1000000"):
        builtin({"valid": 1_000_000}, 0)


@pytest.mark.parametrize("name", SOLUTIONS)
def test_outputs_are_what_another_way_of_working_them_out_gives(name):
    kind = next(kind for kind in KINDS if kind.name == name)
    for seed in range(100):
        draft = kind.draft(random.Random(seed))
        assert draft.answer == str(SOLUTIONS[name](draft.text)), draft


def test_messages_are_instruction_and_input_then_output():
    row = {"instruction": "Add.", "input": "1, 2", "output": "3"}
    expected = [{"role": "user", "content": "Add.\n\n1, 2"}, {"role": "assistant", "content": "3"}]
    assert to_messages(row) == expected
    for nothing in ({"input": ""}, {"input": " \n"}, {"input": None}, {}):
        assert prompt({"instruction": "Add 1 and 2.", "output": "3", **nothing}) == "Add 1 and 2."


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_an_answer_is_right_in_every_form_that_comes_to_the_same(kind):
    for row in BY_KIND[kind]:
        output = row["output"]
        same = [output, f"\n  {output}\n", f"```\n{output}\n```"]
        if "json" in row["check"]:
            same += [json.dumps(row["check"]["json"], indent=2), f"Here it is:\n```json\n{output}\n```"]
        else:
            same += [f'"{output}"'] if "exact" not in row["check"] else []
        if not {"exact", "json"} & row["check"].keys():
            same += [output.upper(), output.lower(), output + "."]
        if "list" in row["check"]:
            parts = row["check"]["list"]
            same += [" and ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])}, and {parts[-1]}"]
            same += ["\n".join(f"- {part}" for part in parts), "; ".join(parts)]
            same += ["The list:\n\n" + "\n".join(f"{place}. {part}" for place, part in enumerate(parts, 1))]
        if {"ends_with", "choice", "numbers"} & row["check"].keys():
            same += [f"The answer is {output}.", f"It's **{output}**."]
        for answer in same:
            assert score(row, answer).value == 1.0, (row, answer)


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_the_answer_of_another_row_is_wrong(kind):
    rows = BY_KIND[kind][:12]
    for row, other in permutations(rows, 2):
        if row["check"] != other["check"] and row["output"] != other["output"]:
            assert score(row, other["output"]).value == 0.0, (row, other)


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_an_answer_that_is_not_quite_right_is_wrong(kind):
    for row in BY_KIND[kind]:
        check, output = row["check"], row["output"]
        wrong = ["", " \n", "I do not know.", output + output]
        if "numbers" in check:
            wrong += [str(int(output) + 1), str(int(output) - 1), f"-{output}", f"{output}.5"]
        if not {"numbers", "choice"} & check.keys():
            wrong += [f"{output} x"]
        if "list" in check:
            wrong += [", ".join([*check["list"], "chalk"]), ", ".join(check["list"][1:])]
        if check.get("ordered") and len(check["list"]) > 1:
            wrong += [", ".join(reversed(check["list"]))]
        if "exact" in check:
            wrong += [output.swapcase()] + [output.replace("\n", ", ")] * ("\n" in output)
        if "choice" in check:
            wrong += [" or ".join(check["of"])]
        for answer in wrong:
            assert score(row, answer).value == 0.0, (row, answer)


@pytest.mark.parametrize(
    ("check", "answer", "kind"),
    [
        ({"exact": "THE END."}, "The end.", "wrong_format"),
        ({"exact": "- a pin\n- a nut"}, "a pin, a nut", "wrong_format"),
        ({"exact": "Bo,Lima"}, "Bo, Lima", "wrong_format"),
        ({"json": {"x": "1"}}, "x: 1", "wrong_format"),
        ({"json": [1, 2]}, "[true, 2]", "wrong_answer"),
        ({"equal": "Bo ran."}, "Sure! Here you are: Bo ran.", "wrong_format"),
        ({"ends_with": "bo@post.example"}, "Write to jim.bo@post.example", "wrong_answer"),
        ({"ends_with": "ran"}, "It is Iran", "wrong_answer"),
        ({"choice": "odd", "of": ["even", "odd"]}, "17 is an odd number", "ok"),
        ({"choice": "odd", "of": ["even", "odd"]}, "not even, odd", "wrong_answer"),
        ({"numbers": [1200]}, "3 x 400 = 1,200.00 cents", "ok"),
        ({"numbers": [5]}, "There are five of them.", "ok"),
        ({"numbers": [5]}, "There are five of them, or 6.", "wrong_answer"),
        ({"numbers": [5]}, "5, or 6.", "wrong_answer"),
        ({"numbers": [-2]}, "It is −2", "ok"),
        ({"numbers": [3]}, "5-3", "ok"),
        ({"list": ["b", "a"], "ordered": False}, "a b", "ok"),
        ({"list": ["a", "a", "b"], "ordered": False}, "a b b", "wrong_answer"),
        ({"list": ["7", "12"], "ordered": True}, "1. 7\n2. 12", "ok"),
        ({"list": ["7", "12"], "ordered": True}, "[7, 12]", "ok"),
        ({"list": ["7", "3"], "ordered": True}, "7, 12. 3", "wrong_answer"),
        ({"list": ["a", "b"]}, "b, a", "wrong_answer"),
    ],
)
def test_what_an_answer_is_called(check, answer, kind):
    value = next(iter(check.values()))
    assert (
        score({"output": value if isinstance(value, str) else json.dumps(value), "check": check}, answer).kind == kind
    )


def test_rows_without_a_check_are_compared_as_text():
    row = {"instruction": "Name a colour of the sea.", "output": "The deep blue."}
    assert score(row, " the  deep BLUE") == score(row, row["output"])
    assert score(row, "the deep blue").kind == "ok"
    assert score(row, "a pale blue!").kind == "partial"
    assert score(row, "a pale blue!").value == pytest.approx(0.5)
    assert score(row, "red").kind == "different"
    assert score(row, "").kind == "empty"
    assert score(row, "blue deep").value < 1.0
    assert token_f1("one two three", "two three four five") == pytest.approx(2 * (2 / 4 * 2 / 3) / (2 / 4 + 2 / 3))
    assert score({**row, "check": "by hand"}, "red").kind == "different"
    assert score({"output": "The"}, "a").kind == "different"


@pytest.mark.parametrize(
    "answer",
    [
        "\0",
        "\ud800",
        "[" * 100_000,
        '{"a":' * 50_000,
        "9" * 100_000,
        "0," * 50_000,
        "1" + ",111" * 25_000 + ",",
        "1,111" * 20_000,
        " " * 100_000 + "z",
        "0. " * 33_000,
        "-" * 100_000,
        "```" * 33_000,
        "\n" * 100_000,
        "a and " * 17_000,
        "NaN",
        "1e999",
        "٣",
        "²",
    ],
    ids=lambda answer: repr(answer[:8]),
)
def test_any_text_is_an_answer(answer):
    one_of_each = {next(iter(row["check"])): row for row in ROWS}
    assert one_of_each.keys() == CHECKS.keys()
    started = time.perf_counter()
    assert {score(row, answer).value for row in [*one_of_each.values(), {"output": "x y"}]} <= {0.0}
    assert time.perf_counter() - started < 5


def test_the_question_is_one_line():
    assert ALPACA.question({"instruction": "Sort.", "input": "b\na"}) == "Sort. b a"
