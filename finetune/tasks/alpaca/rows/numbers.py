"""Tasks about numbers: arithmetic, word problems, units, comparing."""

import random

from finetune.tasks.alpaca.rows.draft import Draft, Kind, choice, number, short
from finetune.tasks.alpaca.rows.words import NAMES, NUMBER_WORDS, PLACES, THINGS, some_numbers

_UNITS = (
    ("kilometres", "metres", 1000), ("metres", "centimetres", 100), ("centimetres", "millimetres", 10),
    ("kilograms", "grams", 1000), ("tonnes", "kilograms", 1000), ("litres", "millilitres", 1000),
    ("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7),
    ("years", "months", 12), ("feet", "inches", 12), ("yards", "feet", 3), ("dollars", "cents", 100),
    ("euros", "cents", 100), ("decades", "years", 10), ("centuries", "years", 100), ("dozens", "pieces", 12),
)  # fmt: skip
_GAINS = (
    "{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?",
    "There are {a} {things} {place}. {name} adds {b}. How many {things} are there now?",
    "{name} found {a} {things} on one day and {b} on the next. How many {things} did {name} find altogether?",
)
_LOSSES = (
    "{name} had {a} {things} and gave away {b}. How many {things} are left?",
    "There were {a} {things} {place}. {name} took {b} of them. How many {things} remain?",
    "{name} needs {a} {things} and already has {b}. How many {things} are missing?",
)
_GROUPS = (
    "{name} has {a} boxes with {b} {things} in each. How many {things} is that?",
    "{name} packs {b} {things} into each of {a} bags. How many {things} does {name} pack?",
    "There are {a} rows of {b} {things} {place}. How many {things} are there?",
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()


def addition(rng: random.Random) -> Draft:
    a, b = rng.randrange(2, 500), rng.randrange(2, 100)
    return number(f"{a} + {b}", a + b)


def subtraction(rng: random.Random) -> Draft:
    b, result = rng.randrange(2, 100), rng.randrange(1, 400)
    return number(f"{result + b} - {b}", result)


def multiplication(rng: random.Random) -> Draft:
    a, b = rng.randrange(2, 100), rng.randrange(2, 13)
    return number(f"{a} x {b}", a * b)


def division(rng: random.Random) -> Draft:
    result, b = rng.randrange(2, 100), rng.randrange(2, 13)
    return number(f"{result * b} / {b}", result)


def _story(rng: random.Random, stories: tuple[str, ...], a: int, b: int, result: int) -> Draft:
    story = rng.choice(stories)
    return number(
        story.format(name=rng.choice(NAMES), things=rng.choice(THINGS), place=rng.choice(PLACES), a=a, b=b), result
    )


def story_of_gain(rng: random.Random) -> Draft:
    a, b = rng.randrange(2, 60), rng.randrange(2, 40)
    return _story(rng, _GAINS, a, b, a + b)


def story_of_loss(rng: random.Random) -> Draft:
    b, result = rng.randrange(2, 40), rng.randrange(2, 60)
    return _story(rng, _LOSSES, result + b, b, result)


def story_of_groups(rng: random.Random) -> Draft:
    a, b = rng.randrange(2, 13), rng.randrange(2, 13)
    return _story(rng, _GROUPS, a, b, a * b)


def conversion(rng: random.Random) -> Draft:
    large, small, factor = rng.choice(_UNITS)
    count = rng.randrange(2, 100)
    return number(f"{count} {large}", count * factor, unit=small)


def percentage(rng: random.Random) -> Draft:
    percent, base = rng.choice(((10, 10), (20, 5), (25, 4), (50, 2), (75, 4)))
    times = rng.randrange(2, 200)
    return number(f"{percent}% of {times * base}", percent * times * base // 100)


def total(rng: random.Random) -> Draft:
    values = [rng.randrange(2, 30) for _ in range(rng.randrange(3, 5))]
    return number(", ".join(map(str, values)), sum(values))


def largest(rng: random.Random) -> Draft:
    values = some_numbers(rng)
    return number(", ".join(map(str, values)), max(values))


def smallest(rng: random.Random) -> Draft:
    values = some_numbers(rng)
    return number(", ".join(map(str, values)), min(values))


def rounding(rng: random.Random) -> Draft:
    unit, name = rng.choice(((10, "ten"), (100, "hundred")))
    result, off = rng.randrange(1, 90) * unit, rng.randrange(1, unit // 2)
    return number(str(result + rng.choice((-off, off))), result, unit=name)


def parity(rng: random.Random) -> Draft:
    value = rng.randrange(2, 10_000)
    return choice(str(value), ("even", "odd")[value % 2], ("even", "odd"))


def comparison(rng: random.Random) -> Draft:
    a, b = rng.sample(range(2, 1000), 2)
    word, right = rng.choice((("greater", a > b), ("less", a < b)))
    return choice(f"{a} {word} than {b}", "yes" if right else "no", ("yes", "no"))


def next_number(rng: random.Random) -> Draft:
    start, step = rng.randrange(1, 100), rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 25))
    return number(", ".join(str(start + step * place) for place in range(4)), start + step * 4)


def in_digits(rng: random.Random) -> Draft:
    thousands, hundreds, tens, teen = (rng.randrange(8), rng.randrange(8), rng.randrange(8), rng.randrange(10))
    rest, value = rng.choice(((_TEENS[teen], 10 + teen), (_TENS[tens], 20 + 10 * tens)))
    if rng.random() < 0.8:
        rest, value = f"{NUMBER_WORDS[hundreds]} hundred and {rest}", value + 100 * (hundreds + 2)
    if rng.random() < 0.6:
        rest, value = f"{NUMBER_WORDS[thousands]} thousand {rest}", value + 1000 * (thousands + 2)
    return number(rest, value)


def thousands_marks(rng: random.Random) -> Draft:
    value = rng.randrange(1000, 10 ** rng.randrange(4, 9))
    return short(str(value), f"{value:,}")


_STORY = (
    ("{text}", "Solve this problem: {text}", "{text} Answer with a number."),
    ("Solve the word problem.", "Work out the answer to this question."),
)

NUMBERS = (
    Kind(
        "addition",
        addition,
        ("What is {text}?", "Calculate {text}.", "Add up: {text}"),
        ("Work out the sum.", "Add the two numbers."),
    ),
    Kind(
        "subtraction",
        subtraction,
        ("What is {text}?", "Calculate {text}.", "Subtract: {text}"),
        ("Work out the difference.", "Subtract the second number from the first."),
    ),
    Kind(
        "multiplication",
        multiplication,
        ("What is {text}?", "Calculate {text}.", "Multiply: {text}"),
        ("Work out the product.", "Multiply the two numbers."),
    ),
    Kind(
        "division",
        division,
        ("What is {text}?", "Calculate {text}.", "Divide: {text}"),
        ("Work out the quotient.", "Divide the first number by the second."),
    ),
    Kind("story_of_gain", story_of_gain, *_STORY),
    Kind("story_of_loss", story_of_loss, *_STORY),
    Kind("story_of_groups", story_of_groups, *_STORY),
    Kind(
        "conversion",
        conversion,
        ("Convert {text} to {unit}.", "How many {unit} are {text}?", "Express {text} in {unit}."),
        ("Convert to {unit}.", "How many {unit} is this?"),
    ),
    Kind(
        "percentage",
        percentage,
        ("What is {text}?", "Calculate {text}.", "How much is {text}?"),
        ("Work out the percentage.", "Calculate this part of the number."),
    ),
    Kind(
        "total",
        total,
        ("What is the sum of {text}?", "Add these numbers together: {text}"),
        ("Add all the numbers.", "Find the total of these numbers."),
    ),
    Kind(
        "largest",
        largest,
        ("Which of these numbers is the largest: {text}?", "Find the greatest number: {text}"),
        ("Name the largest number.", "Which number is the biggest?"),
    ),
    Kind(
        "smallest",
        smallest,
        ("Which of these numbers is the smallest: {text}?", "Find the lowest number: {text}"),
        ("Name the smallest number.", "Which number is the lowest?"),
    ),
    Kind(
        "rounding",
        rounding,
        ("Round {text} to the nearest {unit}.", "What is {text}, rounded to the nearest {unit}?"),
        ("Round the number to the nearest {unit}.", "Give this number to the nearest {unit}."),
    ),
    Kind(
        "parity",
        parity,
        ("Is {text} even or odd?", "Say whether {text} is an odd or an even number."),
        ("Is the number even or odd?", "Classify the number as even or odd."),
    ),
    Kind(
        "comparison",
        comparison,
        ("Is {text}?", "Yes or no: is {text}?", "Answer yes or no: is {text}?"),
        ("Is this true? Answer yes or no.", "Say yes if this holds, and no if it does not."),
    ),
    Kind(
        "next_number",
        next_number,
        ("Which number comes next: {text}?", "Continue the sequence with one number: {text}"),
        ("What is the next number of the sequence?", "Add the next number."),
    ),
    Kind(
        "in_digits",
        in_digits,
        ("Write {text} in digits.", "Which number is {text}? Use digits."),
        ("Write the number in digits.", "Turn these words into a number."),
    ),
    Kind(
        "thousands_marks",
        thousands_marks,
        ("Write {text} with commas between the thousands.", "Put thousands separators into {text}, using commas."),
        (
            "Format the number with a comma as thousands separator.",
            "Group the digits of the number in threes with commas.",
        ),
    ),
)
