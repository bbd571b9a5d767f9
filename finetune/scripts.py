"""What the four scripts share: the registries behind their choices, their YAML file, their checks."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Any, NoReturn

import finetune
from finetune.backends import CHOICES as BACKEND_CHOICES
from finetune.backends.interface import OPTIMIZERS
from finetune.errors import UserError, first_line, is_out_of_memory, shell_command, stopped_by_gpu
from finetune.methods import METHODS
from finetune.methods.schedules import SCHEDULES
from finetune.settings import command_line, conflicts, environment, save
from finetune.settings.config import FINE_TUNE_TYPES, LABELS_IN_PROMPT, SAME_PROMPTS, FileConfig, TrainingConfig
from finetune.settings.fields import Layer
from finetune.settings.layers import file_layers
from finetune.settings.method_flags import DPO_LOSSES, GRPO_LOSSES
from finetune.settings.profiles import PROFILES
from finetune.tasks import ROW_KINDS, TASKS
from finetune.tasks.learning import LEARN
from finetune.tasks.thinking import MODES
from finetune.terminal import say
from finetune.training import start
from finetune.training.reporters import REPORTERS

CHOICES: dict[str, Mapping[str, object]] = {
    "tasks": TASKS,
    "row_kinds": ROW_KINDS,
    "methods": METHODS,
    "backends": BACKEND_CHOICES,
    "schedules": SCHEDULES,
    "optimizers": OPTIMIZERS,
    "fine_tune_types": dict.fromkeys(FINE_TUNE_TYPES),
    "same_prompts": dict.fromkeys(SAME_PROMPTS),
    "labels_in_prompt": dict.fromkeys(LABELS_IN_PROMPT),
    "reporters": REPORTERS,
    "dpo_losses": dict.fromkeys(DPO_LOSSES),
    "grpo_losses": dict.fromkeys(GRPO_LOSSES),
    "profiles": PROFILES,
    "learn": dict.fromkeys(LEARN),
    "thinking": dict.fromkeys(MODES),
}


def run(main: Callable[[Any], None], config_class: type[FileConfig]) -> NoReturn:
    """``command_line.run`` for a script of this project."""
    command_line.run(
        _within_memory(main),
        config_class,
        choices=CHOICES,
        layers=layers_of(config_class),
        begin=environment.load,
        prepare=prepare,
        version=f"finetune {finetune.__version__}",
    )


def _within_memory(main: Callable[[Any], None]) -> Callable[[Any], None]:
    """``main``, with out-of-memory errors as a UserError that says what to do."""

    @wraps(main)
    def run(config: Any) -> None:
        try:
            main(config)
        except (RuntimeError, MemoryError) as error:
            if remedy := stopped_by_gpu(error):
                raise UserError(f"the system stopped the GPU: {first_line(error)} ({remedy})") from None
            if not is_out_of_memory(error):
                raise
            what = ". ".join(first_line(error).split(". ")[:2])
            raise UserError(
                f"out of memory: {what} (close other programs, use a smaller --batch-size or --max-seq-length, or"
                " --grad-checkpoint; train.py --dry-run estimates the memory of a run)"
            ) from None

    return run


def layers_of(config_class: type[FileConfig]) -> Callable[[Mapping[str, object]], Sequence[Layer]]:
    """Where a script takes the values that no flag gives."""
    return start.layers if config_class is TrainingConfig else partial(file_layers, config_class)


def prepare(config: FileConfig) -> None:
    """Before ``main``: UserError for contradictory settings, or those that differ from the run to resume; ``--save-config``."""
    conflicts.check(config)
    if isinstance(config, TrainingConfig):
        start.check_start(config)
        if config.resume and (config.dry_run or config.validate):
            start.check_settings(config)
    if config.save_config:
        save.save(config, config.save_config, shell_command("python", *sys.argv))
        say(f"Settings: {config.save_config}")
