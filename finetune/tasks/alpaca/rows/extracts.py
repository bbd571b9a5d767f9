"""Tasks about finding something in a text."""

import random
from collections.abc import Callable

from finetune.tasks.alpaca.rows.draft import Draft, Kind, number, short
from finetune.tasks.alpaca.rows.words import CITIES, NAMES, ORDINALS, SURNAMES, long_date, sentence, some_day

# each names every field, so that finding one means passing over the others
_MESSAGES = (
    "Dear {name}, your order {code} was sent to {city} on {date}. The total is {amount} dollars. Questions? Write to {email}.",
    "{name} ({email}) paid {amount} dollars for ticket {code} to {city}, valid on {date}.",
    "On {date} we received {amount} dollars from {name}, {city}. The reference is {code}; a receipt went to {email}.",
    "Invoice {code}: {amount} dollars, due on {date}. Billed to {name} in {city}, reachable at {email}.",
    "Please call {name} in {city} about case {code} before {date}, or write to {email}. The fee is {amount} dollars.",
    "The parcel {code} for {name} arrived in {city} on {date}. Postage of {amount} dollars was charged to {email}.",
    "Reservation {code} in {city} is confirmed for {name}. Arrival: {date}. Deposit: {amount} dollars. Contact: {email}.",
    "From {email}: my name is {name}, I moved to {city} on {date}, and bill {code} over {amount} dollars is still open.",
    "{city}, {date}. I hereby sell my bicycle, frame number {code}, to {name} for {amount} dollars. My address: {email}.",
    "The library in {city} asks {name} to bring back book {code} by {date} or pay {amount} dollars ({email}).",
    "{name} booked seat {code} for the concert in {city} on {date}. Tickets for {amount} dollars were mailed to {email}.",
    "Lost in {city} on {date}: a camera, serial number {code}. {name} offers {amount} dollars to the finder. Mail {email}.",
    "Refund {code} of {amount} dollars goes to {name}. Our office in {city} will confirm it to {email} on {date}.",
    "Meet {name} at the {city} office on {date}, bring form {code} and {amount} dollars, and confirm to {email}.",
)
_MAIL_HOSTS = ("example.com", "example.org", "example.net", "mail.example", "post.example")


def _message(rng: random.Random) -> tuple[str, dict[str, str]]:
    first, last = rng.choice(NAMES), rng.choice(SURNAMES)
    fields = {
        "name": f"{first} {last}",
        "email": f"{first.lower()}{rng.choice(('.', '_', ''))}{last.lower()}@{rng.choice(_MAIL_HOSTS)}",
        "city": rng.choice(CITIES),
        "date": long_date(some_day(rng)),
        "code": f"{rng.choice('ABCDEFGHJKLMNPRSTUVWXYZ')}{rng.randrange(100, 1000)}-{rng.randrange(10, 100)}",
        "amount": str(rng.randrange(5, 900)),
    }
    return rng.choice(_MESSAGES).format_map(fields), fields


def _field(name: str) -> Callable[[random.Random], Draft]:
    def draft(rng: random.Random) -> Draft:
        text, fields = _message(rng)
        return short(text, fields[name])

    return draft


def amount(rng: random.Random) -> Draft:
    text, fields = _message(rng)
    return number(text, int(fields["amount"]))


def nth_word(rng: random.Random) -> Draft:
    text = sentence(rng)
    place = rng.randrange(4)
    return short(text, text.rstrip(".").split()[place], nth=ORDINALS[place])


def last_word(rng: random.Random) -> Draft:
    text = sentence(rng)
    return short(text, text.rstrip(".").split()[-1])


def count_words(rng: random.Random) -> Draft:
    text = sentence(rng)
    return number(text, len(text.split()))


EXTRACTS = (
    Kind(
        "email",
        _field("email"),
        ("What is the e-mail address in this text? {text}", "Find the e-mail address: {text}"),
        ("Extract the e-mail address.", "Copy the e-mail address from the text."),
    ),
    Kind(
        "person",
        _field("name"),
        ("Who is the person named in this text? {text}", "Find the full name of the person: {text}"),
        ("Extract the person's full name.", "Which person is mentioned in the text?"),
    ),
    Kind(
        "city",
        _field("city"),
        ("Which city is mentioned here? {text}", "Find the name of the city: {text}"),
        ("Extract the city.", "Name the city that the text mentions."),
    ),
    Kind(
        "date",
        _field("date"),
        ("Which date is mentioned here? {text}", "Find the date: {text}"),
        ("Extract the date as it is written.", "Copy the date from the text."),
    ),
    Kind(
        "code",
        _field("code"),
        ("What is the reference code in this text? {text}", "Find the code: {text}"),
        ("Extract the reference code.", "Copy the code of letters and digits from the text."),
    ),
    Kind(
        "amount",
        amount,
        ("How many dollars is it about? {text}", "Find the amount of money: {text}"),
        (
            "Extract the amount in dollars, as a number.",
            "Which sum of money does the text mention? Give the number only.",
        ),
    ),
    Kind(
        "nth_word",
        nth_word,
        ("What is the {nth} word of this sentence? {text}", "Name the {nth} word: {text}"),
        ("Give the {nth} word of the sentence.", "Which word of the sentence comes {nth}?"),
    ),
    Kind(
        "last_word",
        last_word,
        ("What is the last word of this sentence? {text}", "Name the final word: {text}"),
        ("Give the last word of the sentence.", "With which word does the sentence end?"),
    ),
    Kind(
        "count_words",
        count_words,
        ("How many words does this sentence have? {text}", "Count the words: {text}"),
        ("How many words are there?", "Count the words of the sentence."),
    ),
)
