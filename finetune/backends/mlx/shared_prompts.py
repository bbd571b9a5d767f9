"""Several completions of one prompt, with the prompt computed once: its keys and values serve all of them, and all their
gradients go back through it once.

A group of eight short answers costs a third of eight whole conversations. To the models of mlx_lm it looks like the cache that
they decode with; what stands in it here is part of the computation, so that gradients flow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.backends.mlx.mending import has_long_rope
from finetune.backends.mlx.proofs import UNFIT, in_half, largest
from finetune.backends.mlx.runtime import mx
from finetune.errors import first_line
from finetune.models.loss_mask import Example

_WORTH_IT = 0.85  # of the tokens at most that whole conversations would have


@dataclass(frozen=True)
class SharedBatch:
    prompts: Any  # [prompts, length] token ids but for the last, padded on the right
    lengths: Any  # [rows] of each row's prompt, without the last token
    owners: Any  # [rows] index of each row's prompt
    inputs: Any  # [rows, length] the prompt's last token and the answer, padded on the right
    positions: Any  # [learned] index of each learned token's predecessor in the flattened inputs
    labels: Any  # [learned] the learned tokens

    @property
    def learned(self) -> int:
        return int(self.labels.size)

    @property
    def size(self) -> int:
        """Tokens that are computed."""
        return int(self.prompts.size + self.inputs.size)


def prompt_length(example: Example) -> int:
    """Tokens before the first that is learned."""
    return next((at for at, learned in enumerate(example.loss_mask) if learned and at), len(example.tokens))


def grouped(examples: Sequence[Example]) -> list[list[Example]]:
    """Neighbours with the same prompt."""
    groups: list[list[Example]] = []
    before: list[int] | None = None
    for example in examples:
        prompt = example.tokens[: prompt_length(example)]
        if prompt == before:
            groups[-1].append(example)
        else:
            groups.append([example])
        before = prompt
    return groups


def cost(groups: Sequence[Sequence[Example]]) -> int:
    """Tokens of a shared batch of these groups, padding included."""
    prompts = [prompt_length(group[0]) - 1 for group in groups]
    answers = [
        len(example.tokens) - length - 1 for group, length in zip(groups, prompts, strict=True) for example in group
    ]
    return len(prompts) * max(prompts) + len(answers) * max(answers)


def batches(examples: Sequence[Example], most: int) -> Iterator[list[int]]:
    """Indices of the examples, in their order, in batches of whole groups with at most ``most`` tokens; a larger group is a
    batch of its own."""
    batch: list[list[Example]] = []
    at = 0
    for group in grouped(examples):
        if batch and cost([*batch, group]) > most:
            count = sum(map(len, batch))
            yield list(range(at, at + count))
            at, batch = at + count, []
        batch.append(group)
    if batch:
        yield list(range(at, len(examples)))


def side_by_side(examples: Sequence[Example], most: int) -> Iterator[list[int]]:
    """Indices of examples, those with the same prompt side by side, in batches of at most ``most`` tokens, padding included; a
    longer example is a batch of its own."""

    def by_prompt(index: int) -> tuple[int, list[int]]:
        length = prompt_length(examples[index])
        return length, examples[index].tokens[:length]

    order = sorted(range(len(examples)), key=by_prompt)
    while order:
        count = longest = 0
        while count < len(order):
            longest = max(longest, len(examples[order[count]].tokens))
            if count and (count + 1) * longest > most:
                break
            count += 1
        yield order[:count]
        order = order[count:]


def worth_it(groups: Sequence[Sequence[Example]]) -> bool:
    """Whether sharing is less work than computing each conversation as a whole."""
    examples = [example for group in groups for example in group]
    if len(groups) == len(examples) or any(prompt_length(group[0]) < 2 for group in groups):
        return False
    return cost(groups) < _WORTH_IT * len(examples) * (max(len(example.tokens) for example in examples) - 1)


def shared(groups: Sequence[Sequence[Example]]) -> SharedBatch:
    heads = [group[0].tokens[: prompt_length(group[0]) - 1] for group in groups]
    longest = max(map(len, heads))
    rows = [(owner, example) for owner, group in enumerate(groups) for example in group]
    length = max(len(example.tokens) - len(heads[owner]) for owner, example in rows) - 1
    inputs, positions, labels = [], [], []
    for row, (owner, example) in enumerate(rows):
        begin = len(heads[owner])
        answer = example.tokens[begin:]
        inputs.append(answer[:-1] + [0] * (length + 1 - len(answer)))
        for at in range(1, len(answer)):
            if example.loss_mask[begin + at]:
                positions.append(row * length + at - 1)
                labels.append(answer[at])
    return SharedBatch(
        mx.array([head + [0] * (longest - len(head)) for head in heads]),
        mx.array([len(heads[owner]) for owner, _ in rows]),
        mx.array([owner for owner, _ in rows]),
        mx.array(inputs),
        mx.array(positions),
        mx.array(labels),
    )


class _Prompt:
    """A layer's cache for the prompts: keeps what it is given."""

    offset = 0

    def __init__(self) -> None:
        self.keys: Any = None
        self.values: Any = None

    def update_and_fetch(self, keys: Any, values: Any) -> tuple[Any, Any]:
        self.keys, self.values = keys, values
        return keys, values

    def make_mask(self, count: int, *, return_array: bool = False, window_size: int | None = None) -> Any:
        from mlx_lm.models.base import create_causal_mask

        if return_array or (window_size and count > window_size):
            return create_causal_mask(count, window_size=window_size)
        return "causal"


class _Answers:
    """A layer's cache for the answers: what stands before each is its own prompt."""

    def __init__(self, prompt: _Prompt, batch: SharedBatch):
        self._prompt, self._batch = prompt, batch
        self.offset = batch.lengths

    def update_and_fetch(self, keys: Any, values: Any) -> tuple[Any, Any]:
        own = self._batch.owners
        return (
            mx.concatenate([self._prompt.keys[own], keys], axis=2),
            mx.concatenate([self._prompt.values[own], values], axis=2),
        )

    def make_mask(self, count: int, *, return_array: bool = False, window_size: int | None = None) -> Any:
        """[rows, 1, count, prompt + count]; a prompt's padding is never seen."""
        before = self._batch.prompts.shape[1]
        lengths = self._batch.lengths[:, None, None]
        columns = mx.arange(before + count)[None, None]
        in_prompt = columns < before
        places = mx.where(in_prompt, columns, columns - before + lengths)  # of the keys in their conversations
        queries = lengths + mx.arange(count)[None, :, None]
        seen = (places <= queries) & (~in_prompt | (columns < lengths))
        if window_size is not None:
            seen = seen & (queries < places + window_size)
        return seen[:, None]


def run(model: Any, batch: SharedBatch, layers: int) -> Any:
    """What ``model``, a network or its trunk, gives for the answers: [rows, length, ...]."""
    prompts = [_Prompt() for _ in range(layers)]
    model(batch.prompts, cache=prompts)  # of the last layer nothing but keys and values is ever computed
    return model(batch.inputs, cache=[_Answers(prompt, batch) for prompt in prompts])


_ANSWERED = [([1, 2, 3, 4], [7, 8, 9]), ([1, 2, 3, 4], [3]), ([5, 6], [2, 4])]
PROBE = [Example(prompt + answer, [False] * len(prompt) + [True] * len(answer)) for prompt, answer in _ANSWERED]


def why_not(network: Any) -> str | None:
    """Why a network would not compute the same with shared prompts, as a clause; None if it does."""
    from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache

    if has_long_rope(network):
        return "its RoPE depends on the length of the whole text"
    caches = make_prompt_cache(network)
    if any(type(cache) not in (KVCache, RotatingKVCache) for cache in caches):
        return "its layers keep more of a prompt than keys and values"
    if len(caches) != len(network.layers):
        return "its layers share keys and values"
    try:
        found = run(network, shared(grouped(PROBE)), len(network.layers))
        wholes = [network(mx.array([row.tokens[:-1]]))[0, prompt_length(row) - 1 :] for row in PROBE]
        worst = max(largest(found[row, : whole.shape[0]] - whole) for row, whole in enumerate(wholes))
        size = max(map(largest, wholes))
    except UNFIT as error:
        return f"it fails with a shared prompt ({first_line(error)})"
    rounding = 3e-2 if in_half(network) else 1e-3
    return None if worst <= rounding * max(1.0, size) else f"logits differ by {worst:.2g}"
