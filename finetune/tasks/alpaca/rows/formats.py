"""Tasks about layout: lists, JSON, CSV, dates and times."""

import random
from datetime import timedelta

from finetune.tasks.alpaca.rows.draft import Draft, Kind, choice, exact, parsed, short
from finetune.tasks.alpaca.rows.words import (
    CATEGORIES,
    CITIES,
    NAMES,
    SURNAMES,
    long_date,
    some_day,
    some_numbers,
    some_words,
)


def bullets(rng: random.Random) -> Draft:
    words = some_words(rng, 3, 5)
    return exact(", ".join(words), "\n".join(f"- {word}" for word in words))


def numbering(rng: random.Random) -> Draft:
    words = some_words(rng, 3, 5)
    return exact(", ".join(words), "\n".join(f"{place}. {word}" for place, word in enumerate(words, 1)))


def on_one_line(rng: random.Random) -> Draft:
    words = some_words(rng, 3, 5)
    return exact("\n".join(f"- {word}" for word in words), ", ".join(words))


def _person(rng: random.Random) -> dict[str, str]:
    """Some of what may be known of a person, in some order."""
    known = {
        "name": rng.choice(NAMES),
        "city": rng.choice(CITIES),
        "job": rng.choice(CATEGORIES["profession"]),
        "sport": rng.choice(CATEGORIES["sport"]),
        "colour": rng.choice(CATEGORIES["colour"]),
    }
    return {field: known[field] for field in rng.sample(list(known), rng.randrange(2, 5))}


def json_object(rng: random.Random) -> Draft:
    person = _person(rng)
    return parsed(", ".join(f"{field}: {value}" for field, value in person.items()), person)


def json_array(rng: random.Random) -> Draft:
    values = some_numbers(rng, 3, 5) if rng.random() < 0.5 else some_words(rng, 3, 5)
    return parsed(", ".join(map(str, values)), values)


def csv_row(rng: random.Random) -> Draft:
    person = _person(rng)
    return exact("; ".join(f"{field}: {value}" for field, value in person.items()), ",".join(person.values()))


def last_name_first(rng: random.Random) -> Draft:
    first, last = rng.choice(NAMES), rng.choice(SURNAMES)
    return exact(f"{first} {last}", f"{last}, {first}")


def iso_date(rng: random.Random) -> Draft:
    day = some_day(rng)
    return short(long_date(day), day.isoformat())


def date_in_words(rng: random.Random) -> Draft:
    day = some_day(rng)
    return short(day.isoformat(), long_date(day))


def clock(rng: random.Random) -> Draft:
    hour, minute = rng.randrange(1, 13), rng.randrange(60)
    half = rng.choice(("a.m.", "p.m."))
    return short(f"{hour}:{minute:02} {half}", f"{hour % 12 + 12 * (half == 'p.m.'):02}:{minute:02}")


def earlier_date(rng: random.Random) -> Draft:
    one = some_day(rng)
    other = one + timedelta(days=rng.choice((-1, 1)) * rng.randrange(1, 2000))
    days = [long_date(one), long_date(other)]
    return choice(" or ".join(days), long_date(min(one, other)), days)


def before_or_after(rng: random.Random) -> Draft:
    one = some_day(rng)
    other = one + timedelta(days=rng.choice((-1, 1)) * rng.randrange(1, 2000))
    right = "before" if one < other else "after"
    return choice(one.isoformat(), right, ("before", "after"), other=other.isoformat())


FORMATS = (
    Kind(
        "bullets",
        bullets,
        ("Write this list with one item per line, each beginning with '- ': {text}",),
        (
            "Turn the list into bullet points. Begin every line with a hyphen and a space.",
            "Make a bulleted list with hyphens, one item per line.",
        ),
    ),
    Kind(
        "numbering",
        numbering,
        ("Write this as a numbered list (1. 2. 3.), one item per line: {text}",),
        (
            "Number the items, one per line, in the form '1. item'.",
            "Make a numbered list (1., 2., ...) with one item per line.",
        ),
    ),
    Kind(
        "on_one_line",
        on_one_line,
        (),
        (
            "Write the items on one line, separated by a comma and a space.",
            "Turn the bullet points into one line with commas.",
            "Join the list into a single line: commas between the items, no hyphens.",
        ),
    ),
    Kind(
        "json_object",
        json_object,
        ("Write this as a JSON object: {text}", "Convert to JSON: {text}"),
        ("Make a JSON object out of these fields.", "Express this data as a JSON object."),
    ),
    Kind(
        "json_array",
        json_array,
        ("Write this list as a JSON array: {text}", "Convert the list to JSON: {text}"),
        ("Make a JSON array out of the list.", "Express this list as a JSON array."),
    ),
    Kind(
        "csv_row",
        csv_row,
        ("Write only the values as a CSV row, without spaces after the commas: {text}",),
        (
            "Make a CSV row of the values, with no spaces around the commas.",
            "Give the values, without their names, as one line of CSV.",
        ),
    ),
    Kind(
        "last_name_first",
        last_name_first,
        ("Write {text} with the last name first, then a comma.", "Put the family name first, with a comma: {text}"),
        ("Give the name in the form 'Last, First'.", "Write the surname, a comma, and the first name."),
    ),
    Kind(
        "iso_date",
        iso_date,
        ("Write {text} in the form YYYY-MM-DD.", "Give the ISO date for {text}."),
        ("Convert the date to the format YYYY-MM-DD.", "Write this as an ISO 8601 date."),
    ),
    Kind(
        "date_in_words",
        date_in_words,
        (
            "Write {text} like '3 May 2010'.",
            "Write the date {text} as day, name of the month, and year, without commas.",
        ),
        (
            "Convert the date to a form such as '3 May 2010'.",
            "Write the date as day, month name, year, without commas.",
        ),
    ),
    Kind(
        "clock",
        clock,
        ("Write {text} in 24-hour time (HH:MM).", "What is {text} on a 24-hour clock? Use HH:MM."),
        ("Convert to 24-hour time in the form HH:MM.", "Give this time on the 24-hour clock as HH:MM."),
    ),
    Kind(
        "earlier_date",
        earlier_date,
        ("Which date is earlier, {text}?", "Which of these comes first: {text}?"),
        ("Name the earlier date.", "Which of the two dates comes first?"),
    ),
    Kind(
        "before_or_after",
        before_or_after,
        ("Is {text} before or after {other}?", "Does {text} come before or after {other}?"),
        ("Is this date before or after {other}?", "Say whether the date is before or after {other}."),
    ),
)
