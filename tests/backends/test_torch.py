"""The run on PyTorch: the same tokens and the same losses as on MLX, stopped and gone on with, refused by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune import backends
from finetune.backends import load_backend
from finetune.backends.interface import OPTIMIZERS, Step
from finetune.errors import UserError
from finetune.methods import METHODS, RowSource
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import as_rows
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig
from finetune.training import checkpoints
from same_lora import same_lora

pytest.importorskip("trl", reason="PyTorch, PEFT and TRL are not installed (run: make setup-torch)")
mlx = load_backend("mlx")
pytorch = load_backend("torch")

import torch  # noqa: E402

torch.set_num_threads(1)  # beside the threads of the BLAS that MLX has loaded, its own take several times as long

from finetune.backends.torch import adapters, runtime  # noqa: E402
from finetune.backends.torch.logprobs import collate, has_plain_head, learned_logprobs  # noqa: E402

# 7 rows in batches of 2, two batches a step: the last step of each epoch has one batch of two rows and one of one
CONFIG = TrainingConfig(
    iters=6, batch_size=2, grad_accumulation=2, learning_rate=1e-2, lora_rank=4, lora_dropout=0.1, warmup=2
)


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> ChatEncoder:
    return ChatEncoder(tiny_model)


@pytest.fixture(scope="module")
def examples(encoder: ChatEncoder) -> list[Example]:
    return [
        encoder.example([{"role": "user", "content": "x" * i}, {"role": "assistant", "content": f"SELECT {i};"}])
        for i in range(7)
    ]


@pytest.fixture(scope="module")
def new(tiny_model: Path, encoder: ChatEncoder, examples: list[Example]) -> Callable:
    def make(config: TrainingConfig = CONFIG, backend=pytorch, folder: Path = tiny_model):
        model = backend.load(folder, encoder)
        return backend.Trainer(
            model, METHODS["sft"], RowSource(METHODS["sft"], as_rows(examples), config), config, config.iters, "base"
        )

    return make


def run(trainer, steps: int = 10**6) -> list[Step]:
    found: list[Step] = []
    trainer.train(lambda: False, lambda step: found.append(step) or len(found) < steps)
    return found


def digest(trainer) -> str:
    return adapters.digest(adapters.trained(trainer.peft_model))


@pytest.mark.parametrize("shape", ["tiny_model", "tiny_gemma"])
def test_steps_are_those_of_mlx(request: pytest.FixtureRequest, new: Callable, shape: str) -> None:
    """The loss of each step, the rows it took, the learning rate, and what is learned in it."""
    folder = request.getfixturevalue(shape)
    config = replace(CONFIG, lora_dropout=0.0, max_grad_norm=0.5)
    pair = new(config, mlx, folder), new(config, pytorch, folder)
    same_lora(*pair)
    expected, found = (run(trainer) for trainer in pair)
    assert [step.rows for step in found] == [step.rows for step in expected]
    assert [(step.learned, step.weight) for step in found] == [(step.learned, step.weight) for step in expected]
    assert [step.learning_rate for step in found] == pytest.approx([step.learning_rate for step in expected], rel=1e-6)
    assert [step.loss for step in found] == pytest.approx([step.loss for step in expected], rel=1e-4)
    rows = list(pair[0].source.rows)
    assert pair[1].validation_loss(rows) == pytest.approx(pair[0].validation_loss(rows), rel=1e-4)


def test_only_learned_tokens_pass_the_head(tiny_model: Path, encoder: ChatEncoder, examples: list[Example]) -> None:
    """The same numbers and the same gradient as from all logits."""
    network = pytorch.load(tiny_model, encoder).network
    assert has_plain_head(network)
    batch = collate(examples)
    embedded = network.get_input_embeddings()(batch["input_ids"][:, :-1]).requires_grad_()
    network.get_input_embeddings().register_forward_hook(lambda *_: embedded)
    found = learned_logprobs(network, batch)
    (gradient,) = torch.autograd.grad(found.exp().sum(), embedded)
    labels = batch["labels"][:, 1:]
    logits = network(inputs_embeds=embedded).logits[labels != -100]
    expected = logits.log_softmax(-1).gather(-1, labels[labels != -100][:, None]).squeeze(-1)
    (wanted,) = torch.autograd.grad(expected.exp().sum(), embedded)
    assert torch.allclose(found, expected, atol=1e-5) and len(found) == sum(sum(e.loss_mask) for e in examples)
    assert torch.allclose(gradient, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max()) and wanted.abs().max() > 0


def test_a_head_with_something_after_it_gets_its_own_logits(
    tiny_model: Path, encoder: ChatEncoder, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = pytorch.load(tiny_model, encoder).network
    plain = network.forward

    def capped(*arguments, **named):
        output = plain(*arguments, **named)
        output.logits = 2 * torch.tanh(output.logits / 2)
        return output

    monkeypatch.setattr(network, "forward", capped)
    assert not has_plain_head(network)
    batch = collate(examples)
    labels = batch["labels"][:, 1:]
    logits = network(input_ids=batch["input_ids"][:, :-1]).logits[labels != -100]
    expected = logits.log_softmax(-1).gather(-1, labels[labels != -100][:, None]).squeeze(-1)
    assert torch.allclose(learned_logprobs(network, batch), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("steps", [2, 3])  # the end of an epoch, and inside of one
def test_from_any_step_to_the_same_bit(new: Callable, tmp_path: Path, kind: str, steps: int) -> None:
    config = replace(CONFIG, fine_tune_type=kind)
    whole = new(config)
    run(whole)
    stopped = new(config)
    run(stopped, steps)
    checkpoints.write(tmp_path, "0000001-0000", lambda folder: {"position": stopped.save(folder)})
    state, kept = checkpoints.newest(tmp_path, print)
    again = new(config)
    again.restore(state, json.loads(json.dumps(kept["position"])))
    assert again.position.step == steps
    # a run that is gone on with may validate first, and keeps that in the same place
    checkpoints.write(tmp_path, "0000001-0000", lambda folder: {"position": again.save(folder)})
    again = new(config)
    again.restore(state, json.loads(json.dumps(checkpoints.newest(tmp_path, print)[1]["position"])))
    assert [step.step for step in run(again)] == list(range(steps + 1, 7))
    assert digest(again) == digest(whole)


def test_a_step_under_way_is_left_when_asked_to_stop(new: Callable) -> None:
    asked = iter([False, False, True])  # after the first batch, after the first step, after the next batch
    trainer = new()
    trainer.train(lambda: next(asked), lambda step: True)
    assert trainer.position.step == 1


def test_a_loss_that_is_not_finite_is_told(new: Callable) -> None:
    trainer = new()
    next(p for p in trainer.peft_model.parameters() if p.requires_grad).data[0] = float("inf")
    steps: list[Step] = []
    trainer.train(lambda: False, lambda step: steps.append(step) or step.finite)
    assert [step.finite for step in steps] == [False]


def test_the_precision_does_not_depend_on_where_it_is_asked_for() -> None:
    """train.py asks first while it measures a model without memory; there every precision once seemed not to work."""
    with torch.device("meta"):
        assert runtime._multiplies(torch.bfloat16)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_saved_adapters_answer_the_same(
    new: Callable, tiny_model: Path, encoder: ChatEncoder, examples: list[Example], tmp_path: Path, kind: str
):
    """Also through plain PEFT; without the adapter and with it in the weights; and back again to the last bit."""
    trainer = new(replace(CONFIG, fine_tune_type=kind))
    run(trainer)
    rows = examples
    expected = trainer.validation_loss(as_rows(rows))
    trainer.save_adapters(tmp_path / "adapter_model.safetensors")
    record = {**trainer.adapter_config, "base_model_name_or_path": str(tiny_model)}
    (tmp_path / "adapter_config.json").write_text(json.dumps(record))

    def loss(model) -> float:
        return sum(model.losses(rows)) / sum(sum(row.loss_mask) for row in rows)

    def drawn(model) -> list[list[int]]:
        return [one.tokens for one in model.sample([[1, 2, 3]] * 4, max_tokens=8, temperature=1.0, seed="seed")]

    tuned = pytorch.load(tiny_model, encoder, tmp_path, "base")
    base_model = pytorch.load(tiny_model, encoder)
    base = loss(base_model)
    assert loss(tuned) == pytest.approx(expected, rel=1e-5) and abs(base - expected) > 0.1
    assert loss(tuned.without_adapter()) == base
    assert loss(tuned.fused()) == pytest.approx(expected, rel=1e-4)
    assert loss(tuned.without_adapter()) == base and not tuned.changes_nothing
    assert drawn(tuned) == drawn(tuned.fused()) != drawn(base_model) == drawn(tuned.without_adapter())
    assert loss(tuned) == pytest.approx(expected, rel=1e-5) and loss(tuned.without_adapter()) == base

    import peft
    from transformers import AutoModelForCausalLM

    plain = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(tmp_path))
    conversation = [[{"role": "user", "content": "xx"}]]
    prompt = encoder.prompt(conversation[0])
    tokens = plain.generate(
        torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert (
        encoder.decode(tokens[0, len(prompt) :].tolist())
        == tuned.answers(conversation, max_tokens=8, stops=False)[0].text
    )


def test_answers_to_many_are_those_to_each(tiny_model: Path, encoder: ChatEncoder) -> None:
    """Prompts of several lengths in one batch, with the token that stops somewhere in them."""
    model = pytorch.load(tiny_model, encoder)
    conversations = [[{"role": "user", "content": "word " * i}] for i in (1, 30, 7)]
    alone = [list(model.stream(encoder.prompt(messages), 12, stops=False)) for messages in conversations]
    heard: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChatEncoder, "stop_tokens", frozenset([alone[1][5]]))
        answers = model.answers(conversations, heard.__setitem__, max_tokens=12)
    for tokens, answer in zip(alone, answers, strict=True):
        end = tokens.index(alone[1][5]) if alone[1][5] in tokens else None
        assert answer.text == encoder.decode(tokens[:end]) and answer.stopped == (end is not None)
        assert answer.tokens == len(tokens[:end]) and answer.seconds > 0
    assert [heard[i] for i in range(3)] == answers


def test_restricted_answers_are_those_of_mlx(tiny_model: Path, encoder: ChatEncoder) -> None:
    pytest.importorskip("llguidance", reason="llguidance is not installed (run: make setup)")
    from finetune.models.grammar import JsonGrammar

    parts = {"a": {"type": "string", "maxLength": 5}, "b": {"type": "boolean"}, "c": {"enum": ["x", "y"]}}
    schema = {"type": "object", "properties": parts, "required": [*parts], "additionalProperties": False}
    grammar, found = JsonGrammar(encoder), {}
    conversations = [[{"role": "user", "content": "word " * i}] for i in (1, 30, 7)]
    for name, backend in (("mlx", mlx), ("torch", pytorch)):
        model = backend.load(tiny_model, encoder)
        answers = model.answers(conversations, max_tokens=40, restrict=lambda index: grammar.constraint(schema))
        found[name] = [answer.text for answer in answers]
        assert all(list(json.loads(text)) == [*parts] for text in found[name])
    assert found["torch"] == found["mlx"]


def test_what_does_not_fit_is_refused(
    new: Callable, tiny_model: Path, tiny_gemma: Path, encoder: ChatEncoder, tmp_path: Path
):
    trainer = new()
    weights = tmp_path / "adapter_model.safetensors"
    record = tmp_path / "adapter_config.json"
    trainer.save_adapters(weights)
    record.write_text(json.dumps(trainer.adapter_config))
    good = weights.read_bytes()

    def refused(folder: Path = tiny_model, base: str = "base") -> str:
        with pytest.raises(UserError) as error:
            pytorch.load(folder, encoder, tmp_path, base)
        assert error.value.exit_code == 3 and "\n" not in str(error.value)
        return str(error.value)

    assert pytorch.load(tiny_model, encoder, tmp_path, "base").changes_nothing
    assert "was trained on another model" in refused(base="other")
    assert "does not fit the model" in refused(tiny_gemma)
    weights.write_bytes(good[: len(good) // 2])
    assert "cannot be loaded" in refused()
    weights.write_bytes(good[:-8] + bytes([1] * 8))
    assert "damaged" in refused()
    weights.write_bytes(good)
    record.write_text(json.dumps(trainer.adapter_config | {"r": 8}))
    assert "does not fit the model" in refused()
    record.write_text(json.dumps(trainer.adapter_config | {"peft_type": "IA3"}))
    assert "IA3" in refused()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss_or_is_refused_by_name(new: Callable, name: str) -> None:
    rate = {"sgd": 1.0, "muon": 5e-2}.get(name, 1e-2)
    config = replace(CONFIG, optimizer=name, iters=12, learning_rate=rate, lora_dropout=0.0)
    if name == "lion":
        with pytest.raises(UserError, match="--optimizer lion: not supported by --backend torch"):
            backends.resolved(replace(config, backend="torch"))
        return
    losses = [step.loss for step in run(new(config))]
    assert sum(losses[-4:]) < sum(losses[:4]) - 0.05


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"lora_layers": 3}, "--lora-layers: the model has 2 layers"),
        ({"lora_modules": "q_proj,w_proj"}, "--lora-modules: the model has no module 'w_proj'"),
    ],
)
def test_settings_that_a_model_does_not_have(new: Callable, setting: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        new(replace(CONFIG, **setting))


def test_the_last_layers_and_some_modules(new: Callable) -> None:
    trainer = new(replace(CONFIG, lora_layers=1, lora_modules="q_proj,v_proj", rslora=True, lora_alpha=8.0))
    names = adapters.trained(trainer.peft_model)
    assert len(names) == 4 and all(".layers.1.self_attn." in name for name in names)
    layers = [module for module in trainer.network.modules() if hasattr(module, "lora_A")]
    assert [module.scaling["default"] for module in layers] == [4.0, 4.0]  # 8 / sqrt(4)


def test_memory_and_time_of_a_step_are_estimated(new: Callable, tiny_gemma: Path, examples: list[Example]) -> None:
    config, rows = replace(CONFIG, lora_layers=3), as_rows(examples)
    found = pytorch.estimate_memory(tiny_gemma, METHODS["sft"], config, rows[:2], rows[-2:], 1e9)
    whole = pytorch.estimate_memory(tiny_gemma, METHODS["sft"], config, rows[:2], rows[-2:], 1e9, whole=True)
    assert found.layers == 4 and found.thinnest == 16 and found.seconds > 0
    assert found.trainable == whole.trainable == new(config, folder=tiny_gemma).trainable_parameters
    assert found.weights_mb == pytest.approx(4e-6 * found.parameters)
    assert found.optimizer_mb == pytest.approx(2 * found.adapters_mb, rel=0.01)


class TestWhatAutoTakes:
    @pytest.mark.parametrize(
        ("installed", "mlx_gpu", "torch_gpu", "blas", "taken"),
        [
            ("mlx", None, None, None, "mlx"),
            ("mlx torch", "Metal", "MPS", None, "mlx"),
            ("mlx torch", "CUDA", "CUDA", None, "mlx"),
            ("mlx torch", None, "CUDA", "OpenBLAS", "torch"),
            ("mlx torch", None, None, "OpenBLAS", "mlx"),
            ("mlx torch", None, None, None, "torch"),
            ("torch", None, None, None, "torch"),
        ],
    )
    def test_by_what_is_there(
        self,
        monkeypatch: pytest.MonkeyPatch,
        installed: str,
        mlx_gpu: str | None,
        torch_gpu: str | None,
        blas: str | None,
        taken: str,
    ) -> None:
        monkeypatch.setattr(backends, "_missing", lambda name: [] if name in installed else [name])
        monkeypatch.setattr(backends, "_gpu_of_mlx", lambda: mlx_gpu)
        monkeypatch.setattr("finetune.backends.mlx.runtime.BLAS", blas)
        monkeypatch.setattr(backends, "_gpu_of_torch", lambda: torch_gpu)
        config = backends.resolved(TrainingConfig())
        assert config.backend == taken and config.origins["backend"].startswith("auto: ")
        assert backends.resolved(replace(config, backend="torch")).backend == "torch"

    def test_without_pytorch_it_is_refused_with_the_command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backends, "find_spec", lambda name: None if name in ("torch", "trl") else object())
        with pytest.raises(UserError) as refused:
            load_backend("torch")
        assert str(refused.value) == "--backend torch: torch, trl not installed (run: make setup-torch)"


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_blocks_computed_twice_give_the_same(new: Callable, kind: str) -> None:
    config = replace(CONFIG, fine_tune_type=kind)
    plain = [step.loss for step in run(new(config))]
    recomputed = [step.loss for step in run(new(replace(config, grad_checkpoint=True)))]
    assert recomputed == pytest.approx(plain, rel=1e-5)


def test_processes_share_each_batch(examples: list[Example], monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.backends.torch import trl_trainer

    monkeypatch.setattr(trl_trainer, "processes", lambda: 2)
    shares, source = [], RowSource(METHODS["sft"], as_rows(examples), CONFIG)
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        shares.append(list(trl_trainer._Batches(source)))
    whole = source.epoch(0)
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(batch) for batch in whole]


def test_nothing_is_sent(new: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL tells the Hub of each training."""
    import trl.trainer.base_trainer

    monkeypatch.delenv("CI", raising=False)
    sent: list = []
    monkeypatch.setattr(
        trl.trainer.base_trainer, "send_telemetry", lambda *args, **named: sent.append(args), raising=True
    )
    run(new(), 1)
    assert not sent


def test_preferences_are_learned_as_on_mlx(tiny_model: Path, tmp_path: Path) -> None:
    """The same reference, the same first loss, the same way down; and the adapters go on from where others ended."""
    encoder, method = ChatEncoder(tiny_model), METHODS["dpo"]
    rows = [
        {
            "messages": [{"role": "user", "content": "x" * i}, {"role": "assistant", "content": f"SELECT {i};"}],
            "rejected": "No",
        }
        for i in range(1, 8)
    ]
    examples = [example for pair in method.encode(encoder, rows) for example in pair]
    config = TrainingConfig(
        method="dpo",
        iters=6,
        batch_size=3,
        learning_rate=1e-2,
        lora_rank=4,
        warmup=0,
        schedule="constant",
        dpo_sft_weight=0.1,
    )
    losses, references = {}, {}
    for name in ("mlx", "torch"):
        backend = load_backend(name)
        source = RowSource(method, as_rows(examples, 2), config)
        trainer = backend.Trainer(backend.load(tiny_model, encoder), method, source, config, config.iters, "base")
        references[name] = [sum(values) for values in trainer.logprobs(examples)]
        for example, reference in zip(examples, references[name], strict=True):
            example.terms["reference"] = reference
        steps: list[Any] = []
        trainer.train(lambda: False, lambda step, steps=steps: steps.append(step) or True)
        losses[name] = [step.loss for step in steps]
        assert [step.weight for step in steps] == [len(step.rows) for step in steps]  # pairs
        assert steps[-1].metrics["preferred"] == 1.0 and steps[-1].learned > 0
        trainer.save_adapters(tmp_path / f"{name}.safetensors")
    assert references["torch"] == pytest.approx(references["mlx"], rel=1e-4)
    assert losses["torch"][0] == pytest.approx(losses["mlx"][0], rel=1e-4)
    assert losses["torch"][-1] < losses["torch"][0] - 0.1
    backend = load_backend("torch")
    start = tmp_path / "torch.safetensors"
    again = backend.Trainer(
        backend.load(tiny_model, encoder),
        method,
        RowSource(method, as_rows(examples, 2), config),
        config,
        1,
        "base",
        start,
    )
    after = [sum(values) for values in again.logprobs(examples)]
    assert sum(after[::2]) - sum(after[1::2]) > sum(references["torch"][::2]) - sum(references["torch"][1::2]) + 1
