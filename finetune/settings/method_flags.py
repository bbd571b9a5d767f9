"""What each training method can be told beside what all of them are; the name of a flag begins with that of its method.

With another method such a flag is refused. They stand here, below ``config``, so that the one dataclass of train.py inherits
them and a type checker knows them.
"""

from dataclasses import dataclass
from pathlib import Path

from finetune.settings.fields import option

DPO_LOSSES = ("sigmoid", "hinge", "ipo")
GRPO_LOSSES = ("dapo", "grpo", "dr_grpo")


@dataclass(frozen=True)
class DpoKnobs:
    dpo_beta: float = option(
        0.1,
        "the smaller, the further the model may move from where it started",
        above=0,
        at_most=100,
        group="--method dpo",
    )
    dpo_loss: str = option("sigmoid", "what is made of the margin between chosen and rejected", choices="dpo_losses")
    dpo_length_normalised: bool = option(False, "compare means over the tokens of an answer instead of sums")
    dpo_sft_weight: float = option(
        0.0, "weight of the chosen answer's own loss per token, beside the margin's", at_least=0, at_most=100
    )


@dataclass(frozen=True)
class OrpoKnobs:
    orpo_weight: float = option(
        0.1, "weight of the odds ratio beside the chosen answer's loss", above=0, at_most=100, group="--method orpo"
    )


@dataclass(frozen=True)
class GrpoKnobs:
    grpo_group_size: int = option(8, "answers sampled to each prompt", at_least=2, at_most=1024, group="--method grpo")
    grpo_max_tokens: int = option(128, "longest sampled answer, in tokens", at_least=1)
    grpo_temperature: float = option(1.0, "of the sampled answers", at_least=0.01, at_most=10)
    grpo_updates: int = option(1, "optimizer steps on the same sampled answers", at_least=1, at_most=64)
    grpo_clip: float = option(0.2, "how far below 1 the ratio to the sampling model counts", above=0, at_most=1)
    grpo_clip_high: float | None = option(None, "how far above 1 (default: as far as below)", above=0, at_most=100)
    grpo_kl: float = option(0.0, "weight of the divergence from the model at the start", at_least=0, at_most=100)
    grpo_loss: str = option(
        "dapo",
        "what the loss is a mean of: all tokens, answers (grpo), a fixed length (dr_grpo)",
        choices="grpo_losses",
    )
    grpo_scale_rewards: bool = option(False, "divide advantages by the deviation of their group")
    grpo_reward: Path | None = option(None, "Python file with a function reward(row, answer) -> number")
    grpo_reward_weight: float = option(1.0, "weight of that reward", at_least=0, at_most=1000)
    grpo_reward_seconds: float = option(5.0, "most time that one call of it may take", above=0, at_most=3600)
    grpo_task_weight: float = option(
        1.0, "weight of the task's own reward, such as executed SQL", at_least=0, at_most=1000
    )
    grpo_format_weight: float = option(
        0.0, "weight of an answer that ends and keeps to the task's form", at_least=0, at_most=1000
    )
    grpo_probe: int = option(
        16, "prompts on which to see first whether rewards differ at all", at_least=2, at_most=10000
    )
