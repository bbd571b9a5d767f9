"""Settings that are accepted but seldom intended: notes before the run, never errors."""

from collections.abc import Iterator

from finetune.settings.config import TrainingConfig
from finetune.settings.fields import flag
from finetune.settings.modes import MODES

_FEW_ROWS = 200
_MANY_EPOCHS = 10
_RATE = {"lora": 2e-3, "dora": 2e-3, "full": 1e-4}  # above it, runs seldom stay finite or keep what the model knew


def notes(config: TrainingConfig, rows: int, epochs: float, thinnest: int | None = None) -> Iterator[str]:
    """``thinnest``: the smaller side of the smallest matrix that gets an adapter."""
    mode = "quick" if config.quick_test else "conservative"
    for name, value in MODES[mode].items():
        if config.profile and (config.quick_test or config.conservative) and "profile" in config.origins.get(name, ""):
            yield f"{flag(name)} {getattr(config, name)} comes from the profile; {mode} mode alone would set {value}"
    if config.quick_test and config.eval_samples == 0:
        yield "quick mode checks that everything works; it is too short to judge a model"
    if 0 < rows < config.batch_size * config.grad_accumulation:
        wanted = config.batch_size * config.grad_accumulation
        yield f"a step should take {wanted} rows, but there are {rows}: it takes all of them (use a smaller --batch-size)"
    if epochs > _MANY_EPOCHS and config.patience is None:
        yield f"{epochs:.0f} epochs over {rows} rows: the model will overfit (use fewer --iters, or --patience 3)"
    if 0 < rows < _FEW_ROWS and config.lora_dropout > 0:
        yield f"dropout slows down learning, and a run on {rows} rows is short (consider --lora-dropout 0)"
    if thinnest is not None and config.lora_rank > thinnest and config.fine_tune_type != "full":
        yield f"LoRA rank {config.lora_rank} exceeds the smaller side of the smallest adapted matrix ({thinnest})"
    if config.learning_rate > (usual := _RATE[config.fine_tune_type]):
        yield f"a learning rate of {config.learning_rate:g} is high for {config.fine_tune_type} (usual: up to {usual:g})"
