"""What is accepted, and yet seldom what somebody wants: said before the run, never refused."""

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
            yield f"{flag(name)} {getattr(config, name)} is the profile's; {mode} mode alone would have {value}"
    if config.quick_test and config.eval_samples == 0:
        yield "quick mode shows that everything works; it is too short to judge a model by"
    if 0 < rows < config.batch_size * config.grad_accumulation:
        wanted = config.batch_size * config.grad_accumulation
        yield f"a step is to take {wanted} rows and there are {rows}: each takes all (smaller --batch-size)"
    if epochs > _MANY_EPOCHS and config.patience is None:
        yield f"{rows} rows are seen {epochs:.0f} times each: they will be learned by heart (fewer --iters, or --patience 3)"
    if 0 < rows < _FEW_ROWS and config.lora_dropout > 0:
        yield f"dropout slows down learning, and {rows} rows give little time for it (--lora-dropout 0)"
    if thinnest is not None and config.lora_rank > thinnest and config.fine_tune_type != "full":
        yield f"rank {config.lora_rank} is more than the smallest adapted matrix can have ({thinnest})"
    if config.learning_rate > (usual := _RATE[config.fine_tune_type]):
        yield f"a learning rate of {config.learning_rate:g} is high for {config.fine_tune_type} (usual: up to {usual:g})"
