"""Rows of tool calls, to see what training makes of them: eight functions, of which each row offers two or three.

    python benchmarks/tool_calls.py tool_rows
    python dataset.py --type chat --dataset-name tool_rows --keep-splits --valid-fraction 0.07 --test-fraction 0.23
    python train.py --model builtin --iters 150
    python test_finetuned.py

In three rows of five one or two calls are wanted; in one of five none of the tools can help, and in another one the result of
the call is there and the answer is a text. The names, places and texts of the test rows are in no other split.
"""

import argparse
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Arguments = dict[str, Any]

# of each kind of value, those of the rows to train on, and those of the test rows
VALUES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "city": (
        (
            "Oslo",
            "Lisbon",
            "Vienna",
            "Prague",
            "Dublin",
            "Athens",
            "Warsaw",
            "Hanoi",
            "Lima",
            "Cairo",
            "Boston",
            "Kyoto",
        ),
        ("Helsinki", "Porto", "Graz", "Quito", "Nairobi", "Denver", "Osaka", "Riga"),
    ),
    "person": (
        ("Ann", "Ben", "Clara", "Dev", "Emil", "Fatima", "Greta", "Hugo", "Iris", "Jonas", "Kim", "Lena"),
        ("Maya", "Noah", "Olga", "Pablo", "Rosa", "Stefan", "Tariq", "Vera"),
    ),
    "message": (
        ("I am late", "dinner is ready", "the train is full", "we won", "please call me", "the parcel is here"),
        ("the keys are on the table", "see you tomorrow", "the meeting is over", "happy birthday"),
    ),
    "label": (("tea", "pasta", "laundry", "a break", "bread"), ("eggs", "yoga", "rice", "the oven")),
    "artist": (
        ("Miles Davis", "Nina Simone", "Mozart", "Abba", "Bob Marley", "Queen"),
        ("Ella Fitzgerald", "Chopin", "Prince", "Johnny Cash"),
    ),
    "title": (
        ("dentist", "standup", "piano lesson", "budget review", "lunch"),
        ("haircut", "team retro", "parents evening"),
    ),
}
UNITS, CURRENCIES, CUISINES = (
    ("celsius", "fahrenheit"),
    ("EUR", "USD", "GBP", "JPY"),
    ("thai", "italian", "indian", "greek"),
)
WITHOUT = (  # questions that no tool answers; {a} and {b} are numbers
    ("Hello, I am {person}.", "Hello, {person}! How can I help you?"),
    ("Thank you! {person} says thank you too.", "You are welcome, both of you!"),
    ("What is {a} plus {b}?", "{a} plus {b} is {sum}."),
    ("Which is larger, {a} or {b}?", "The larger one is {most}."),
)


class Draw:
    """Values for one row."""

    def __init__(self, rng: random.Random, *, held_out: bool):
        self.rng, self._held_out = rng, held_out

    def of(self, kind: str) -> str:
        return self.rng.choice(VALUES[kind][self._held_out])

    def maybe(self) -> bool:
        return self.rng.random() < 0.5


def _weather(draw: Draw) -> tuple[str, Arguments]:
    city, given = draw.of("city"), Arguments()
    question = draw.rng.choice(
        ["What is the weather in {}", "How is the weather in {}", "Give me the forecast for {}"]
    ).format(city)
    if draw.maybe():
        given["days"] = draw.rng.randint(2, 7)
        question += f" for the next {given['days']} days"
    if draw.maybe():
        given["unit"] = draw.rng.choice(UNITS)
        question += f" in {given['unit']}"
    return f"{question}?", {"city": city, **given}


def _timer(draw: Draw) -> tuple[str, Arguments]:
    minutes, label = draw.rng.randint(2, 90), draw.of("label")
    if draw.maybe():
        return f"Set a timer of {minutes} minutes.", {"minutes": minutes}
    return f"Set a timer for {label}: {minutes} minutes.", {"minutes": minutes, "label": label}


def _message(draw: Draw) -> tuple[str, Arguments]:
    to, text = draw.of("person"), draw.of("message")
    question = draw.rng.choice(['Send {0} the message "{1}".', 'Write to {0}: "{1}"', 'Tell {0} "{1}", please.'])
    return question.format(to, text), {"to": to, "text": text}


def _currency(draw: Draw) -> tuple[str, Arguments]:
    source, target = draw.rng.sample(CURRENCIES, 2)
    amount = draw.rng.choice([draw.rng.randint(2, 900), round(draw.rng.uniform(1, 90), 2)])
    return f"How much is {amount} {source} in {target}?", {"amount": amount, "source": source, "target": target}


def _restaurants(draw: Draw) -> tuple[str, Arguments]:
    cuisine, city = draw.rng.choice(CUISINES), draw.of("city")
    if draw.maybe():
        return f"Find a {cuisine} restaurant in {city}.", {"cuisine": cuisine, "city": city}
    most = draw.rng.randint(2, 12) * 5
    question = f"Find a {cuisine} restaurant in {city} for at most {most} euros."
    return question, {"cuisine": cuisine, "city": city, "max_price": most}


def _event(draw: Draw) -> tuple[str, Arguments]:
    title, hour = draw.of("title"), draw.rng.randint(8, 20)
    date = f"2026-{draw.rng.randint(1, 12):02}-{draw.rng.randint(1, 28):02}"
    return f"Put {title} into my calendar on {date} at {hour} o'clock.", {"title": title, "date": date, "hour": hour}


def _music(draw: Draw) -> tuple[str, Arguments]:
    artist = draw.of("artist")
    if draw.maybe():
        return f"Play {artist}.", {"artist": artist}
    return f"Play {artist}, shuffled.", {"artist": artist, "shuffle": True}


def _train(draw: Draw) -> tuple[str, Arguments]:
    start, end = draw.of("city"), draw.of("city")
    while end == start:
        end = draw.of("city")
    if draw.maybe():
        return f"Book a train from {start} to {end}.", {"origin": start, "destination": end}
    people = draw.rng.randint(2, 6)
    return f"Book a train from {start} to {end} for {people} people.", {
        "origin": start, "destination": end, "passengers": people,
    }  # fmt: skip


def _tool(name: str, about: str, required: int, **properties: Any) -> dict[str, Any]:
    """A function of which the first ``required`` arguments must be given; a property is a type, or the words of an enum."""
    schemas = {
        k: {"type": v} if isinstance(v, str) else {"type": "string", "enum": list(v)} for k, v in properties.items()
    }
    parameters = {"type": "object", "properties": schemas, "required": list(schemas)[:required]}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": parameters}}


FUNCTIONS: tuple[tuple[dict[str, Any], Callable[[Draw], tuple[str, Arguments]]], ...] = (
    (_tool("get_weather", "Weather forecast of a city.", 1, city="string", days="integer", unit=UNITS), _weather),
    (_tool("set_timer", "Start a timer.", 1, minutes="integer", label="string"), _timer),
    (_tool("send_message", "Send a text message.", 2, to="string", text="string"), _message),
    (
        _tool("convert_currency", "Convert an amount.", 3, amount="number", source=CURRENCIES, target=CURRENCIES),
        _currency,
    ),
    (
        _tool("find_restaurant", "Find a restaurant.", 2, cuisine=CUISINES, city="string", max_price="integer"),
        _restaurants,
    ),
    (_tool("create_event", "Add an event to the calendar.", 3, title="string", date="string", hour="integer"), _event),
    (_tool("play_music", "Play music of an artist.", 1, artist="string", shuffle="boolean"), _music),
    (
        _tool("book_train", "Book a train.", 2, origin="string", destination="string", passengers="integer"),
        _train,
    ),
)


def row(rng: random.Random, *, held_out: bool) -> dict[str, Any]:
    """One row, with the tools that it offers in any order."""
    draw = Draw(rng, held_out=held_out)
    offered = rng.sample(FUNCTIONS, rng.randint(2, 3))
    (tool, make), (other, make_other) = offered[:2]
    tools = [function for function, _ in rng.sample(offered, len(offered))]
    kind = rng.choices(("call", "two calls", "result", "none"), (50, 10, 20, 20))[0]
    if kind == "none":
        absent = rng.choice([function for function in FUNCTIONS if function not in offered])
        a, b = rng.sample(range(10, 99), 2)
        words = {"person": draw.of("person"), "a": a, "b": b, "sum": a + b, "most": max(a, b)}
        question, answer = (text.format(**words) for text in rng.choice(WITHOUT))
        if draw.maybe():
            question, answer = absent[1](draw)[0], "I have no tool for that."
        return {"messages": _turns(question, {"role": "assistant", "content": answer}), "tools": tools}
    question, arguments = make(draw)
    calls = [_call(tool, arguments)]
    if kind == "two calls":
        also, more = make_other(draw)
        question, calls = f"{question} {also}", [*calls, _call(other, more)]
    calling = {"role": "assistant", "content": "", "tool_calls": calls}
    if kind != "result":
        return {"messages": _turns(question, calling), "tools": tools}
    number = rng.randint(2, 99)
    returned = {"role": "tool", "content": json.dumps({"status": "done", "number": number})}
    done = {"role": "assistant", "content": f"It is done: {number}."}
    return {"messages": [*_turns(question, calling), returned, done], "tools": tools}


def _turns(question: str, answer: Mapping[str, Any]) -> list[Any]:
    return [{"role": "user", "content": question}, answer]


def _call(tool: Mapping[str, Any], arguments: Arguments) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool["function"]["name"], "arguments": json.dumps(arguments)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for train.jsonl, valid.jsonl and test.jsonl")
    parser.add_argument(
        "--rows", type=int, default=300, help="rows to train on; a tenth as many to validate, a third to test"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    asked: set[str] = set()
    for split, count in (("train", given.rows), ("valid", given.rows // 10), ("test", given.rows // 3)):
        rng = random.Random(f"{given.seed} {split}")
        rows: list[dict[str, Any]] = []
        while len(rows) < count:
            one = row(rng, held_out=split == "test")
            if (question := one["messages"][0]["content"]) not in asked:
                rows.append(one)
                asked.add(question)
        path = given.folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), encoding="utf-8")
        print(f"{path}: {count} rows")


if __name__ == "__main__":
    main()
