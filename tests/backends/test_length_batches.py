from finetune.backends.length_batches import length_batches, row_batches, split_by_learned
from finetune.models.examples import as_rows
from finetune.models.loss_mask import Example

LENGTHS = (3, 9, 4, 4, 8, 2)
EXAMPLES = [Example([0] * length, [False] + [True] * (length - 1)) for length in LENGTHS]


def test_batches_hold_few_enough_tokens_with_their_padding() -> None:
    batches = list(length_batches(EXAMPLES, 12))
    assert batches == [[1], [4], [2, 3, 0], [5]]
    assert list(length_batches(EXAMPLES, 1)) == [[1], [4], [2], [3], [0], [5]]  # longer than the limit: alone
    assert list(length_batches([], 12)) == []


def test_values_return_to_their_examples() -> None:
    values = [float(number) for number in range(sum(example.learned for example in EXAMPLES))]
    found = split_by_learned(values, EXAMPLES)
    assert [len(own) for own in found] == [length - 1 for length in LENGTHS]
    assert [value for own in found for value in own] == values


def test_rows_by_length_keep_their_examples() -> None:
    batches = row_batches(as_rows(EXAMPLES, 2), 2)
    assert [[row.tokens for row in batch] for batch in batches] == [[4, 8], [9]]
