"""The flags of single training methods; the name of a flag begins with that of its method.

With another method such a flag is refused. They stand here, below ``config``, so that the one dataclass of train.py inherits
them and a type checker knows them.
"""

from dataclasses import dataclass
from pathlib import Path

from finetune.settings.fields import option, switch

DPO_LOSSES = ("sigmoid", "hinge", "ipo")
GRPO_LOSSES = ("dapo", "grpo", "dr_grpo")


@dataclass(frozen=True)
class DpoFlags:
    dpo_beta: float = option(
        0.1,
        "DPO beta: strength of the KL constraint; smaller values let the model move further from the reference",
        above=0,
        at_most=100,
        group="--method dpo",
    )
    dpo_loss: str = option("sigmoid", "loss applied to the chosen-rejected margin", choices="dpo_losses")
    dpo_length_normalised: bool = switch("use the mean log-probability per token instead of the sum")
    dpo_sft_weight: float = option(
        0.0, "weight of an added SFT loss on the chosen answer (RPO alpha)", at_least=0, at_most=100
    )


@dataclass(frozen=True)
class OrpoFlags:
    orpo_weight: float = option(
        0.1, "weight of the odds-ratio loss (lambda in the paper)", above=0, at_most=100, group="--method orpo"
    )


@dataclass(frozen=True)
class GrpoFlags:
    grpo_group_size: int = option(
        8, "group size G: answers sampled per prompt", at_least=2, at_most=1024, group="--method grpo"
    )
    grpo_max_tokens: int = option(128, "longest sampled answer, in tokens", at_least=1)
    grpo_temperature: float = option(1.0, "sampling temperature", at_least=0.01, at_most=10)
    grpo_updates: int = option(
        1,
        "optimizer steps per batch of sampled answers (mu in the paper, num_iterations in TRL)",
        at_least=1,
        at_most=64,
    )
    grpo_clip: float = option(
        0.2, "clip range epsilon: the probability ratio is clipped below at 1 - epsilon", above=0, at_most=1
    )
    grpo_clip_high: float | None = option(
        None, "upper clip range epsilon_high (default: the same as --grpo-clip)", above=0, at_most=100
    )
    grpo_kl: float = option(
        0.0, "KL penalty against the starting model, beta in the paper; 0 turns it off", at_least=0, at_most=100
    )
    grpo_loss: str = option(
        "dapo",
        "loss normalisation: per token over the batch (dapo), per answer (grpo), or by a fixed length (dr_grpo)",
        choices="grpo_losses",
    )
    grpo_scale_rewards: bool = switch("divide advantages by the standard deviation of the rewards in their group")
    grpo_reward: Path | None = option(None, "Python file with a reward function: reward(row, answer) -> number")
    grpo_reward_weight: float = option(1.0, "weight of --grpo-reward", at_least=0, at_most=1000)
    grpo_reward_seconds: float = option(
        5.0, "time limit of one call of --grpo-reward, in seconds", above=0, at_most=3600
    )
    grpo_task_weight: float = option(
        1.0, "weight of the task's own reward, such as executed SQL", at_least=0, at_most=1000
    )
    grpo_format_weight: float = option(
        0.0, "weight of a reward for answers that finish (EOS) and are well-formed", at_least=0, at_most=1000
    )
    grpo_probe: int = option(
        16,
        "prompts sampled before training, to check that rewards differ within groups",
        at_least=2,
        at_most=10000,
    )
