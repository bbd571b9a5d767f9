"""Batched answers are those that each row gets alone, for every kind of cache; what is not proven is not used.

The reference is the network itself on the whole text, without a cache, for each token anew.
"""

import importlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from finetune.backends import load_backend
from finetune.errors import UserError

load_backend("mlx")

from finetune.backends.mlx import batch_proof, batch_trial, batches, decoding  # noqa: E402
from finetune.backends.mlx.decoding import Decoder, Sampling  # noqa: E402
from finetune.backends.mlx.fast_paths import FastPaths  # noqa: E402
from finetune.backends.mlx.layout import layout_of  # noqa: E402
from finetune.backends.mlx.runtime import mx  # noqa: E402

VOCABULARY = 120
COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
LFM2 = {
    "norm_eps": 1e-5,
    "conv_bias": False,
    "conv_L_cache": 3,
    "block_dim": 32,
    "block_multiple_of": 8,
    "block_ffn_dim_multiplier": 1.0,
    "block_auto_adjust_ff_dim": False,
    "layer_types": ["conv", "full_attention"],
}
MAMBA2 = {
    "num_heads": 4,
    "head_dim": 16,
    "state_size": 8,
    "layer_norm_epsilon": 1e-5,
    "conv_kernel": 4,
    "n_groups": 1,
    "use_bias": False,
    "use_conv_bias": True,
    "time_step_limit": [0.0, 10.0],
    "time_step_rank": 4,
    "intermediate_size": 64,
}
FALCON = {
    "mamba_d_ssm": 32,
    "mamba_d_head": 8,
    "mamba_n_heads": 4,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
    "attention_in_multiplier": 1.0,
}
LLAMA4 = {
    "attention_bias": False,
    "attention_chunk_size": 8,
    "interleave_moe_layer_step": 2,
    "intermediate_size_mlp": 48,
    "num_experts_per_tok": 1,
    "num_local_experts": 2,
    "num_hidden_layers": 4,
    "rope_scaling": None,
    "use_qk_norm": True,
}
BIGCODE = {"n_embd": 32, "n_layer": 2, "n_inner": 48, "n_head": 4, "n_positions": 256, "layer_norm_epsilon": 1e-5}
AFM = {"hidden_dim": 32, "num_layers": 3, "num_kv_reuse_layers": 1, "num_heads": 4, "num_kv_heads": 2}
GEMMA3 = {"sliding_window": 8, "sliding_window_pattern": 2, "query_pre_attn_scalar": 8}

KINDS: dict[str, tuple[dict[str, Any], str]] = {  # type of model: its own settings, and the way in which it answers
    "llama": ({}, "Padded"),
    "gemma3_text": (GEMMA3, "Padded"),
    "gemma2": ({"query_pre_attn_scalar": 8.0}, "Grouped"),
    "lfm2": (LFM2, "Merged"),
    "mamba2": (MAMBA2, "Merged"),
    "falcon_h1": (FALCON, "Merged"),
    "llama4": (LLAMA4, "Level"),
    "afm7": (AFM, "Level"),
    "gpt_bigcode": (BIGCODE, "Level"),
}


def network_of(kind: str) -> Any:
    """A tiny random model whose every part matters."""
    from mlx.utils import tree_map_with_path

    module = importlib.import_module(f"mlx_lm.models.{kind}")
    settings = {**COMMON, **KINDS[kind][0], "model_type": kind}
    wraps = kind == "llama4"
    network = module.Model(
        module.ModelArgs.from_dict({"model_type": kind, "text_config": settings} if wraps else settings)
    )

    def noisy(name: str, array: Any) -> Any:
        noise = mx.random.normal(array.shape)
        return array + 0.1 * noise if array.ndim < 2 else 1.5 / array.shape[-1] ** 0.5 * noise

    mx.random.seed(3)
    network.update(tree_map_with_path(noisy, network.parameters()))
    network.eval()
    mx.eval(network.parameters())
    return network


def prompts_of(count: int, *, shared: int) -> list[list[int]]:
    draw = random.Random(count)
    start = [draw.randrange(VOCABULARY) for _ in range(shared)]
    return [start + [draw.randrange(VOCABULARY) for _ in range(1 + 3 * at % 11)] for at in range(count)]


def greedy(network: Any, prompt: Sequence[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(network(mx.array([tokens]))[0, -1].argmax().item()))
    return tokens[len(prompt) :]


def answers(network: Any, prompts: Sequence[Sequence[int]], stop: frozenset[int] = frozenset()) -> dict[int, list[int]]:
    return {one.index: one.tokens for one in Decoder(network, stop, 8).run(prompts)}


def way(network: Any) -> str:
    return network._finetune_way.way.__name__


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_answers_as_each_row_does_alone(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of several lengths, some of the same; places are taken by others; with and without a beginning in common."""
    monkeypatch.setattr(decoding, "_MOST_ROWS", 4)
    network = network_of(kind)
    for shared in (10, 0):
        prompts = prompts_of(9, shared=shared)
        wanted = [greedy(network, prompt, 8) for prompt in prompts]
        stop = frozenset({wanted[0][2], wanted[5][4]})
        ends = [next((at for at, token in enumerate(tokens) if token in stop), 8) for tokens in wanted]
        found = answers(network, prompts, stop)
        assert found == {at: tokens[: ends[at]] for at, tokens in enumerate(wanted)}
    assert way(network) == KINDS[kind][1]
    said = capsys.readouterr().err
    assert said.count("\n") == (way(network) == "Level") and ("of the same length" in said) == (way(network) == "Level")
    if way(network) == "Level":
        assert f"models of type {kind} answer" in said


def test_what_is_drawn_does_not_depend_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    network, prompts = network_of("lfm2"), [*prompts_of(5, shared=9), *[prompts_of(1, shared=9)[0]] * 3]

    def drawn() -> list[decoding.Finished]:
        found = Decoder(network, frozenset({7}), 8, Sampling(0.8, "seed")).run(prompts)
        return sorted(found, key=lambda one: one.index)

    together = drawn()
    assert way(network) == "Merged" and len({tuple(one.tokens) for one in together[5:]}) > 1
    monkeypatch.setattr(batch_proof, "ways", lambda network: [batches.Single])
    del network._finetune_way
    for one, other in zip(together, drawn(), strict=True):
        assert (one.tokens, one.stop) == (other.tokens, other.stop)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert way(network) == "Single"


def without_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_lm.models.base import create_causal_mask
    from mlx_lm.models.cache import BatchKVCache

    def mask(self: Any, length: int, **options: Any) -> Any:
        return create_causal_mask(length, offset=self._idx, window_size=options.get("window_size"))

    monkeypatch.setattr(BatchKVCache, "make_mask", mask)


def with_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    right = batches.keep_rows
    for module in (batches, batch_trial, decoding):
        monkeypatch.setattr(module, "keep_rows", lambda caches, rows: right(caches, [max(0, row - 1) for row in rows]))


def with_states_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_lm.models.cache import ArraysCache

    right = ArraysCache.merge.__func__
    monkeypatch.setattr(ArraysCache, "merge", classmethod(lambda cls, caches: right(cls, caches[::-1])))


def with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_lm.models.cache import BatchKVCache

    monkeypatch.setattr(BatchKVCache, "update_and_fetch", lambda self, keys, values: {}["keys"])


def with_another_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    right = batches.Padded.keep_prefix

    def keep(self: Any, caches: list[Any], shared: int) -> None:
        for cache in caches:
            cache.keys = -cache.keys
        right(self, caches, shared)

    monkeypatch.setattr(batches.Padded, "keep_prefix", keep)


def with_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    monkeypatch.setattr(batches, "layout_of", lambda network: replace(layout_of(network), cap=0.5))


def with_another_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cache, as Gemma 3n has it."""
    from mlx_lm.models.llama import Model

    right = Model.__call__

    def call(self: Any, inputs: Any, cache: Any = None) -> Any:
        return right(self, inputs if cache else (inputs + 1) % VOCABULARY, cache)

    monkeypatch.setattr(Model, "__call__", call)


@pytest.mark.parametrize(
    ("kind", "break_it", "wanted", "words"),
    [
        ("llama", without_padding, "Level", "in a batch of several lengths their answers differ"),
        ("llama", with_other_rows, "Single", "one by one: in a batch their answers differ"),
        ("lfm2", with_states_of_others, "Level", "in a batch of several lengths their answers differ"),
        ("llama", with_an_error, "Level", "in a batch of several lengths they fail: KeyError: 'keys'"),
        (
            "llama",
            with_another_beginning,
            "Merged",
            "prompts are read one at a time: read together their answers differ",
        ),
        ("llama", with_a_cap, "Padded", "by the model as a whole: with its output head apart their answers differ"),
        ("llama", with_another_forward_pass, "Padded", "together, but compute otherwise than in training"),
    ],
)
def test_a_way_that_is_not_right_is_not_gone(
    kind: str,
    break_it: Callable[[pytest.MonkeyPatch], None],
    wanted: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    network, prompts = network_of(kind), prompts_of(5, shared=10)
    alone = dict(enumerate(greedy(network, prompt, 8) for prompt in prompts))
    break_it(monkeypatch)
    assert answers(network, prompts) == alone and way(network) == wanted
    assert answers(network, prompts[:3]) == {at: alone[at] for at in range(3)}
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and words in said and words in batch_proof.described(network)


def test_the_proof_is_short_and_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import mlx.nn as nn

    network, prompts = network_of("llama"), prompts_of(2, shared=0)
    layout_of(network)
    passes: list[tuple[int, ...]] = []
    right = nn.Embedding.__call__
    monkeypatch.setattr(
        nn.Embedding, "__call__", lambda self, tokens: passes.append(tokens.shape) or right(self, tokens)
    )

    def computed() -> list[tuple[int, ...]]:
        passes.clear()
        answers(network, prompts)
        return list(passes)

    first, second = computed(), computed()
    assert 0 < len(first) - len(second) <= 9 and max(map(max, first)) < 30


def test_a_longer_text_is_proven_where_a_layer_sees_a_part_of_it() -> None:
    network = network_of("gemma3_text")
    answers(network, [[1, 2], [3, 4, 5]][:2])
    assert network._finetune_way.reach == 8  # 3 tokens and an answer of 8
    network = network_of("gemma3_text")
    list(Decoder(network, frozenset(), 2).run([[1, 2], [3, 4, 5]]))
    assert network._finetune_way.reach == 0
    answers(network, [[1, 2], [3, 4, 5]])
    assert network._finetune_way.reach == 8


@pytest.mark.parametrize(("kind", "layers"), [("llama", 2), ("mamba2", 0), ("gemma3_text", 1)])
def test_states_do_not_grow_and_windows_no_more_than_they_hold(kind: str, layers: int) -> None:
    network = network_of(kind)
    caches = batches.Single(network).caches()
    network(mx.array([[1, 2, 3]]), cache=caches)
    first, second, third = (batches.row_bytes(caches, 3, length) for length in (10, 20, 40))
    keys = 2 * 2 * 8 * 4  # of a layer and a token: keys and values, two heads of size 8
    assert first > 0 and second - first == pytest.approx(10 * keys * layers)
    assert third - second == pytest.approx(20 * keys * layers)


@pytest.mark.parametrize("value", [0.01, 0.1, 3.0])
def test_where_nothing_can_be_told_nothing_is_refused(value: float) -> None:
    """All weights alike make all logits alike, and what differs is rounding."""
    from mlx.utils import tree_map
    from mlx_lm.models import llama

    settings = {**COMMON, "hidden_size": 576, "head_dim": 64, "num_attention_heads": 9, "num_key_value_heads": 3}
    network = llama.Model(llama.ModelArgs.from_dict({**settings, "model_type": "llama", "tie_word_embeddings": True}))
    network.update(tree_map(lambda array: mx.full(array.shape, value, array.dtype), network.parameters()))
    batch_proof.refuse_otherwise(network)


def test_what_answers_otherwise_than_it_is_trained_is_not_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in KINDS:
        batch_proof.refuse_otherwise(network_of(kind))
    with_another_forward_pass(monkeypatch)
    with pytest.raises(UserError, match="type llama cannot be trained: mlx_lm gives them other logits without a cache"):
        FastPaths(network_of("llama"), 1.0, checkpoints=False, shares_prompts=False)
