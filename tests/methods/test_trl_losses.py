"""The losses of DPO and GRPO are TRL's: its own trainers, given the log-probabilities that ours are given."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("trl", reason="PyTorch, PEFT and TRL are not installed (run: make setup-torch)")

import torch
from datasets import Dataset
from transformers import AutoTokenizer, LlamaForCausalLM
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

from finetune.methods import METHODS
from finetune.methods.grpo import advantages
from finetune.models.loss_mask import Example
from finetune.settings.config import TrainingConfig

LENGTHS = [4, 2, 5, 3]  # of the learned tokens; of dpo: chosen, rejected, chosen, rejected
VALUES = torch.linspace(-2.4, -0.1, sum(LENGTHS), dtype=torch.float64)[
    torch.randperm(14, generator=torch.manual_seed(1))
]
REFERENCES = [-3.0, -2.5, -6.0, -4.0]
ADVANTAGES = [1.2, -0.7, 0.4, -1.5]


def examples(**terms: list[Any]) -> list[Example]:
    return [
        Example([0] * (1 + count), [False] + [True] * count, {name: values[at] for name, values in terms.items()})
        for at, count in enumerate(LENGTHS)
    ]


def table(values: torch.Tensor) -> torch.Tensor:
    """[rows, tokens] of the values of each example, 0 elsewhere."""
    rows = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=values.dtype)
    for row, part in enumerate(values.split(LENGTHS)):
        rows[row, : len(part)] = part
    return rows


MASK = table(torch.ones(14, dtype=torch.float64))


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> tuple[Any, Any]:
    return LlamaForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"loss_type": ["sigmoid"], "beta": 0.3}, {"dpo_beta": 0.3}),
        ({"loss_type": ["hinge"], "beta": 0.3}, {"dpo_beta": 0.3, "dpo_loss": "hinge"}),
        ({"loss_type": ["ipo"], "beta": 0.3}, {"dpo_beta": 0.3, "dpo_loss": "ipo"}),
        ({"loss_type": ["sigmoid_norm"], "beta": 0.3}, {"dpo_beta": 0.3, "dpo_length_normalised": True}),
    ],
)
def test_dpo(tiny: tuple[Any, Any], tmp_path: Path, theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    model, tokenizer = tiny
    rows = Dataset.from_list([{"prompt": "a", "chosen": "b", "rejected": "c"}])
    arguments = DPOConfig(str(tmp_path), report_to="none", use_cpu=True, bf16=False, **theirs)
    trainer = DPOTrainer(model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.precompute_ref_logps = True
    order = [0, 2, 1, 3]  # TRL has all chosen answers first
    found = table(VALUES)[order].requires_grad_()
    mask = torch.cat([torch.zeros(4, 1), MASK[order]], dim=1).long()
    reference = torch.tensor(REFERENCES, dtype=torch.float64)
    inputs = {
        "input_ids": mask,
        "attention_mask": mask,
        "completion_mask": mask,
        "ref_chosen_logps": reference[::2],
        "ref_rejected_logps": reference[1::2],
    }
    nothing = torch.zeros_like(found)
    others = {"entropy": nothing, "mean_logits": nothing, "is_top1": nothing.bool()}
    expected = trainer._compute_loss(lambda **_: SimpleNamespace(log_probs=found, **others), inputs, False)
    expected.backward()
    logprobs = VALUES.clone().requires_grad_()
    config = TrainingConfig(method="dpo", **ours)
    loss = METHODS["dpo"].loss(torch, logprobs, examples(reference=REFERENCES), config)
    mean = loss.total / loss.weight
    mean.backward()
    assert mean.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(table(logprobs.grad)[order], found.grad * MASK[order], rtol=1e-5)


@pytest.mark.parametrize("kl", [0.0, 0.2])
@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo"])
def test_grpo(tiny: tuple[Any, Any], tmp_path: Path, loss_type: str, kl: float) -> None:
    model, tokenizer = tiny
    arguments = GRPOConfig(
        str(tmp_path),
        loss_type=loss_type,
        beta=kl,
        epsilon=0.1,
        epsilon_high=0.3,
        use_bias_correction_kl=False,
        num_generations=4,
        per_device_train_batch_size=4,
        max_completion_length=8,
        report_to="none",
        use_cpu=True,
        bf16=False,
    )
    rows = Dataset.from_list([{"prompt": "a"}] * 4)
    trainer = GRPOTrainer(model, lambda **_: [0.0] * 4, args=arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.current_gradient_accumulation_steps = 1
    found = table(VALUES).requires_grad_()
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (found, torch.zeros_like(found), None)
    old, reference = VALUES + torch.linspace(-0.5, 0.5, 14), VALUES - torch.linspace(-0.4, 0.6, 14)
    inputs = {
        "prompt_ids": torch.zeros(4, 1).long(),
        "prompt_mask": torch.ones(4, 1).long(),
        "completion_ids": torch.zeros(4, 5).long(),
        "completion_mask": MASK,
        "advantages": torch.tensor(ADVANTAGES, dtype=torch.float64),
        "old_per_token_logps": table(old),
        "ref_per_token_logps": table(reference),
        "num_items_in_batch": MASK.sum(),
    }
    expected = trainer._compute_loss(model, inputs)
    expected.backward()
    logprobs = VALUES.clone().requires_grad_()
    config = TrainingConfig(
        method="grpo", grpo_loss=loss_type, grpo_kl=kl, grpo_clip=0.1, grpo_clip_high=0.3, grpo_max_tokens=8
    )
    terms = {"advantage": ADVANTAGES, "old": [part.tolist() for part in old.split(LENGTHS)]}
    if kl:
        terms["reference"] = [part.tolist() for part in reference.split(LENGTHS)]
    loss = METHODS["grpo"].loss(torch, logprobs, examples(**terms), config)
    mean = loss.total / loss.weight
    mean.backward()
    assert mean.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(table(logprobs.grad), found.grad * MASK, rtol=1e-5)


def test_advantages() -> None:
    rewards = torch.tensor([0.0, 1.0, 0.3, 0.3])
    expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    assert advantages(rewards.tolist(), scale=True) == pytest.approx(expected.tolist(), rel=1e-5)
