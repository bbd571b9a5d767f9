"""Tasks about sentences and words: writing them in another way."""

import random

from finetune.tasks.alpaca.rows.draft import Draft, Kind, equal, exact, items, short
from finetune.tasks.alpaca.rows.words import (
    ADJECTIVES,
    NAMES,
    NOUNS,
    NUMBER_WORDS,
    PLACES,
    SURNAMES,
    THINGS,
    TIMES,
    VERBS,
    phrase,
    sentence,
)

_CONTRACTIONS = {
    "couldn't": "could not", "didn't": "did not", "mustn't": "must not", "shouldn't": "should not", "won't": "will not",
    "wouldn't": "would not",
}  # fmt: skip
_MEETINGS = (
    "{} lent {} an umbrella", "{} met {} at the station", "{} sent {} a postcard", "{} helped {} with the dishes",
    "{} beat {} at chess", "{} sat next to {}", "{} cooked dinner for {}", "{} waited for {}", "{} sold {} an old bicycle",
    "{} taught {} a new song",
)  # fmt: skip
_EXCLAMATIONS = ("Well", "Oh", "Look", "Listen", "Wait", "Yes", "No", "Sorry", "Hello", "Thanks")


def upper_case(rng: random.Random) -> Draft:
    text = sentence(rng)
    return exact(text, text.upper())


def lower_case(rng: random.Random) -> Draft:
    text = sentence(rng).upper()
    return exact(text, text.lower())


def title_case(rng: random.Random) -> Draft:
    text = phrase(rng)
    return exact(text, " ".join(word.capitalize() for word in text.split()))


def reverse_words(rng: random.Random) -> Draft:
    text = phrase(rng)
    return equal(text, " ".join(reversed(text.split())))


def hyphenate(rng: random.Random) -> Draft:
    text = phrase(rng)
    return short(text, text.replace(" ", "-"))


def replace_word(rng: random.Random) -> Draft:
    (name, another), (thing, other) = rng.sample(NAMES, 2), rng.sample(THINGS, 2)
    rest = f"{rng.choice(PLACES)} {rng.choice(TIMES)}"
    count = rng.choice(NUMBER_WORDS)
    text = f"{name} left {count} {thing} {rest}."
    if rng.random() < 0.5:
        return equal(text, f"{another} left {count} {thing} {rest}.", old=name, new=another)
    return equal(text, f"{name} left {count} {other} {rest}.", old=thing, new=other)


def swap_names(rng: random.Random) -> Draft:
    first, second = rng.sample(NAMES, 2)
    pattern, when = rng.choice(_MEETINGS), rng.choice(TIMES)
    return equal(f"{pattern.format(first, second)} {when}.", f"{pattern.format(second, first)} {when}.")


def remove_punctuation(rng: random.Random) -> Draft:
    text = f"{rng.choice(_EXCLAMATIONS)}, {rng.choice(NAMES)}! {phrase(rng).capitalize()}: is it yours?"
    return exact(text, "".join(letter for letter in text if letter not in ",.:!?"))


def initials(rng: random.Random) -> Draft:
    names = [rng.choice(NAMES), rng.choice(NAMES), rng.choice(SURNAMES)]
    return short(" ".join(names), "".join(name[0] for name in names))


def plural(rng: random.Random) -> Draft:
    nouns = rng.sample(NOUNS, 3)
    return items(", ".join(one for one, _ in nouns), [many for _, many in nouns])


def singular(rng: random.Random) -> Draft:
    nouns = rng.sample(NOUNS, 3)
    return items(", ".join(many for _, many in nouns), [one for one, _ in nouns])


def comparative(rng: random.Random) -> Draft:
    adjectives = rng.sample(ADJECTIVES, 3)
    return items(", ".join(forms[0] for forms in adjectives), [forms[1] for forms in adjectives])


def superlative(rng: random.Random) -> Draft:
    adjectives = rng.sample(ADJECTIVES, 3)
    return items(", ".join(forms[0] for forms in adjectives), [forms[2] for forms in adjectives])


def past_tense(rng: random.Random) -> Draft:
    name, (_, third, past, rest) = rng.choice(NAMES), rng.choice(VERBS)
    return equal(f"{name} {third} {rest}.", f"{name} {past} {rest}.")


def future_tense(rng: random.Random) -> Draft:
    name, (plain, third, _, rest) = rng.choice(NAMES), rng.choice(VERBS)
    return equal(f"{name} {third} {rest}.", f"{name} will {plain} {rest}.")


def question(rng: random.Random) -> Draft:
    name, (plain, third, _, rest) = rng.choice(NAMES), rng.choice(VERBS)
    return equal(f"{name} {third} {rest}.", f"Does {name} {plain} {rest}?")


def negative(rng: random.Random) -> Draft:
    name, (plain, third, _, rest) = rng.choice(NAMES), rng.choice(VERBS)
    return equal(f"{name} {third} {rest}.", f"{name} does not {plain} {rest}.")


def write_out(rng: random.Random) -> Draft:
    name, (plain, _, _, rest) = rng.choice(NAMES), rng.choice(VERBS)
    contracted = rng.choice(list(_CONTRACTIONS))
    text = f"{name} {contracted} {plain} {rest} {rng.choice(TIMES)}."
    return equal(text, text.replace(contracted, _CONTRACTIONS[contracted]))


TEXTS = (
    Kind(
        "upper_case",
        upper_case,
        ("Write this in capital letters: {text}", "Convert to upper case: {text}", 'Put "{text}" in all caps.'),
        ("Rewrite the sentence in capital letters.", "Turn every letter of this text into a capital."),
    ),
    Kind(
        "lower_case",
        lower_case,
        ("Write this in small letters: {text}", "Convert to lower case: {text}", 'Change "{text}" to lower case only.'),
        ("Rewrite the sentence without any capital letters.", "Make all letters of this text lower case."),
    ),
    Kind(
        "title_case",
        title_case,
        ("Capitalize every word: {text}", 'Write "{text}" with a capital letter at the start of each word.'),
        ("Give each word of this phrase a capital first letter.", "Capitalize the first letter of every word."),
    ),
    Kind(
        "reverse_words",
        reverse_words,
        (
            "Write these words in reverse order: {text}",
            'Put the words of "{text}" in the opposite order, last word first.',
        ),
        ("Reverse the order of the words.", "Write the phrase with its words from last to first."),
    ),
    Kind(
        "hyphenate",
        hyphenate,
        ("Join these words with hyphens: {text}", 'Replace each space in "{text}" with a hyphen.'),
        ("Put hyphens instead of spaces between the words.", "Make one hyphenated word out of this phrase."),
    ),
    Kind(
        "replace_word",
        replace_word,
        ('Replace "{old}" with "{new}": {text}', "Write {new} instead of {old} in this sentence: {text}"),
        ('Replace the word "{old}" with "{new}".', "Rewrite the sentence so that it says {new} instead of {old}."),
    ),
    Kind(
        "swap_names",
        swap_names,
        ("Swap the two names: {text}", "Exchange the two people in this sentence: {text}"),
        ("Swap the names of the two people.", "Rewrite the sentence with the two names exchanged."),
    ),
    Kind(
        "remove_punctuation",
        remove_punctuation,
        ("Remove the punctuation from this text: {text}", "Write this without punctuation marks: {text}"),
        ("Delete all punctuation marks, and change nothing else.", "Rewrite the text without any punctuation."),
    ),
    Kind(
        "initials",
        initials,
        (
            "What are the initials of {text}? Write them without dots.",
            "Give the initials of {text}, with no dots or spaces.",
        ),
        ("Write the initials of this person as one word.", "Reduce the name to its initials, without dots or spaces."),
    ),
    Kind(
        "plural",
        plural,
        ("Give the plurals of these words: {text}", "Write the plural of each noun: {text}"),
        ("Put these nouns into the plural.", "What are the plural forms of these words?"),
    ),
    Kind(
        "singular",
        singular,
        ("Give the singular of these words: {text}", "Write the singular of each noun: {text}"),
        ("Put these nouns into the singular.", "What are the singular forms of these words?"),
    ),
    Kind(
        "comparative",
        comparative,
        ("Give the comparative of each adjective: {text}", "What are the comparative forms of {text}?"),
        ("Write the comparative forms of these adjectives.", "List the comparative of each of these words."),
    ),
    Kind(
        "superlative",
        superlative,
        ("Give the superlative of each adjective: {text}", "What are the superlative forms of {text}?"),
        (
            "Write the superlative forms of these adjectives, without 'the'.",
            "List the superlative of each of these words.",
        ),
    ),
    Kind(
        "past_tense",
        past_tense,
        ("Put this sentence into the past tense: {text}", 'Change "{text}" to the simple past.'),
        (
            "Rewrite the sentence in the past tense.",
            "Write this as something that happened yesterday, in the simple past.",
        ),
    ),
    Kind(
        "future_tense",
        future_tense,
        ("Put this sentence into the future with 'will': {text}", 'Change "{text}" to the future tense with "will".'),
        ("Rewrite the sentence in the future tense, using 'will'.", "Say with 'will' that this is going to happen."),
    ),
    Kind(
        "question",
        question,
        ("Turn this into a yes/no question: {text}", 'Ask whether it is so, beginning with "Does": {text}'),
        (
            "Rewrite the sentence as a question that begins with 'Does'.",
            "Make a yes/no question out of this statement.",
        ),
    ),
    Kind(
        "negative",
        negative,
        ("Make this sentence negative with 'does not': {text}", "Say the opposite with 'does not': {text}"),
        ("Negate the sentence with 'does not'.", "Rewrite the statement so that it denies this, using 'does not'."),
    ),
    Kind(
        "write_out",
        write_out,
        ("Write out the contraction in full: {text}", "Expand the shortened form: {text}"),
        ("Rewrite the sentence without its contraction.", "Write the contracted words of this sentence in full."),
    ),
)
