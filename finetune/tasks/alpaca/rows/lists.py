"""Tasks about lists: sorting, choosing, counting and sorting into classes."""

import random

from finetune.tasks.alpaca.rows.draft import Draft, Kind, choice, items, number
from finetune.tasks.alpaca.rows.words import CATEGORIES, EVERYTHING, LABELS, ORDINALS, some_numbers, some_words


def _listed(values: list[str] | list[int]) -> str:
    return ", ".join(map(str, values))


def sort_words(rng: random.Random) -> Draft:
    words = some_words(rng)
    return items(_listed(words), sorted(words))


def sort_words_backwards(rng: random.Random) -> Draft:
    words = some_words(rng)
    return items(_listed(words), sorted(words, reverse=True))


def sort_numbers(rng: random.Random) -> Draft:
    numbers = some_numbers(rng)
    return items(_listed(numbers), [str(value) for value in sorted(numbers)])


def sort_numbers_down(rng: random.Random) -> Draft:
    numbers = some_numbers(rng)
    return items(_listed(numbers), [str(value) for value in sorted(numbers, reverse=True)])


def sort_by_length(rng: random.Random) -> Draft:
    words = list({len(word): word for word in rng.sample(EVERYTHING, 8)}.values())[:5]
    return items(_listed(words), sorted(words, key=len))


def reverse_list(rng: random.Random) -> Draft:
    words = some_words(rng)
    return items(_listed(words), words[::-1])


def remove_duplicates(rng: random.Random) -> Draft:
    words = some_words(rng, 3, 5)
    twice = words + rng.sample(words, 2)
    rng.shuffle(twice)
    return items(_listed(twice), list(dict.fromkeys(twice)))


def first_items(rng: random.Random) -> Draft:
    words = some_words(rng, 4, 7)
    count = rng.randrange(2, 4)
    return items(_listed(words), words[:count], count=("two", "three")[count - 2])


def without_one(rng: random.Random) -> Draft:
    words = some_words(rng, 4, 6)
    gone = rng.choice(words)
    return items(_listed(words), [word for word in words if word != gone], gone=gone)


def common_items(rng: random.Random) -> Draft:
    words = rng.sample(CATEGORIES[rng.choice(LABELS)], 7)
    first, second = words[:5], words[3:]
    rng.shuffle(first)
    rng.shuffle(second)
    return items(f"{_listed(first)} / {_listed(second)}", [word for word in first if word in second], ordered=False)


def numbers_above(rng: random.Random) -> Draft:
    numbers = some_numbers(rng, 5, 7)
    limit = sorted(numbers)[rng.randrange(1, 4)]
    return items(_listed(numbers), [str(value) for value in numbers if value > limit], ordered=False, limit=str(limit))


def even_numbers(rng: random.Random) -> Draft:
    numbers = [2 * value for value in some_numbers(rng, 2, 3)] + [2 * value + 1 for value in some_numbers(rng, 2, 3)]
    rng.shuffle(numbers)
    return items(_listed(numbers), [str(value) for value in numbers if value % 2 == 0], ordered=False)


def longest_word(rng: random.Random) -> Draft:
    words = list({len(word): word for word in rng.sample(EVERYTHING, 6)}.values())[:4]
    return choice(_listed(words), max(words, key=len), words)


def nth_item(rng: random.Random) -> Draft:
    words = some_words(rng, 4, 6)
    place = rng.randrange(len(words))
    return choice(_listed(words), words[place], words, nth=ORDINALS[place])


def odd_one_out(rng: random.Random) -> Draft:
    most, other = rng.sample(LABELS, 2)
    odd = rng.choice(CATEGORIES[other])
    words = [*rng.sample(CATEGORIES[most], 3), odd]
    rng.shuffle(words)
    return choice(_listed(words), odd, words)


def which_class(rng: random.Random) -> Draft:
    labels = rng.sample(LABELS, 3)
    word = rng.choice(CATEGORIES[rng.choice(labels)])
    right = next(label for label in labels if word in CATEGORIES[label])
    return choice(word, right, labels, labels=_listed(labels))


def count_item(rng: random.Random) -> Draft:
    words = some_words(rng, 3, 3)
    times = rng.randrange(1, 5)
    listed = [words[0]] * times + [rng.choice(words[1:]) for _ in range(rng.randrange(2, 5))]
    rng.shuffle(listed)
    return number(_listed(listed), times, word=words[0])


def count_items(rng: random.Random) -> Draft:
    words = some_words(rng, 3, 9)
    return number(_listed(words), len(words))


LISTS = (
    Kind(
        "sort_words",
        sort_words,
        ("Sort these words alphabetically: {text}", "Put {text} in alphabetical order."),
        ("Arrange the words from A to Z.", "Sort the list in alphabetical order."),
    ),
    Kind(
        "sort_words_backwards",
        sort_words_backwards,
        ("Sort these words from Z to A: {text}", "Put {text} in reverse alphabetical order."),
        ("Arrange the words in reverse alphabetical order.", "Sort the list from Z to A."),
    ),
    Kind(
        "sort_numbers",
        sort_numbers,
        ("Sort these numbers from smallest to largest: {text}", "Put {text} in ascending order."),
        ("Sort the numbers in ascending order.", "Arrange the numbers, beginning with the smallest."),
    ),
    Kind(
        "sort_numbers_down",
        sort_numbers_down,
        ("Sort these numbers from largest to smallest: {text}", "Put {text} in descending order."),
        ("Sort the numbers in descending order.", "Arrange the numbers, beginning with the largest."),
    ),
    Kind(
        "sort_by_length",
        sort_by_length,
        ("Sort these words from shortest to longest: {text}", "Order these words by their number of letters: {text}"),
        ("Arrange the words by length, the shortest first.", "Sort the words by how many letters they have."),
    ),
    Kind(
        "reverse_list",
        reverse_list,
        ("Reverse this list: {text}", "Write this list backwards, last item first: {text}"),
        ("Turn the order of the list around.", "List the same items from last to first."),
    ),
    Kind(
        "remove_duplicates",
        remove_duplicates,
        ("Remove the duplicates from this list: {text}", "Write each word only once, where it comes first: {text}"),
        ("Delete repeated items, keeping the order.", "List every item once, in the order of first appearance."),
    ),
    Kind(
        "first_items",
        first_items,
        ("Give the first {count} items of this list: {text}", "What are the first {count} of these: {text}?"),
        ("Copy the first {count} words of the list.", "Keep only the first {count} items."),
    ),
    Kind(
        "without_one",
        without_one,
        ("Take {gone} out of this list: {text}", 'Write this list without "{gone}": {text}'),
        ('Remove "{gone}" from the list.', "List everything except {gone}."),
    ),
    Kind(
        "common_items",
        common_items,
        ("Which words are in both of these lists? {text}", "Find what these two lists have in common: {text}"),
        ("Name the items that stand in both lists.", "What do the two lists have in common?"),
    ),
    Kind(
        "numbers_above",
        numbers_above,
        ("Which of these numbers are greater than {limit}? {text}", "List the numbers above {limit}: {text}"),
        ("Keep only the numbers greater than {limit}.", "Which of the numbers are larger than {limit}?"),
    ),
    Kind(
        "even_numbers",
        even_numbers,
        ("Which of these numbers are even? {text}", "List only the even numbers: {text}"),
        ("Find the even numbers.", "Remove all odd numbers from the list."),
    ),
    Kind(
        "longest_word",
        longest_word,
        ("Which of these words is the longest: {text}?", "Name the longest word: {text}"),
        ("Find the longest word in the list.", "Which word has the most letters?"),
    ),
    Kind(
        "nth_item",
        nth_item,
        ("What is the {nth} word in this list: {text}?", "Name the {nth} item: {text}"),
        ("Give the {nth} item of the list.", "Which word comes {nth}?"),
    ),
    Kind(
        "odd_one_out",
        odd_one_out,
        ("Which word does not belong with the others: {text}?", "Find the odd one out: {text}"),
        ("Which item is of another kind than the rest?", "Name the word that does not fit in with the others."),
    ),
    Kind(
        "which_class",
        which_class,
        ("Which of these is the right label for '{text}': {labels}?", "Label the word '{text}' as one of: {labels}"),
        ("Choose the class that the word belongs to: {labels}", "Classify the word. The labels are: {labels}"),
    ),
    Kind(
        "count_item",
        count_item,
        ("How many times does '{word}' occur in this list: {text}?", "Count how often {word} appears: {text}"),
        ("How often does '{word}' occur?", "Count the occurrences of {word} in the list."),
    ),
    Kind(
        "count_items",
        count_items,
        ("How many items are in this list: {text}?", "Count these words: {text}"),
        ("How many items does the list have?", "Count the words in the list."),
    ),
)
