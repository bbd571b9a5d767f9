"""Fine-tune a model with LoRA on the rows that dataset.py wrote; the adapters go to checkpoints/.

python train.py --quick-test        100 steps of 2 rows, to see that everything works
python train.py                     standard: 2000 steps of 4 rows
python train.py --conservative      800 steps, gentle, with early stopping
"""

from collections.abc import Mapping

from finetune import cli
from finetune.backends import BACKENDS, load_backend
from finetune.config import TrainingConfig, describe, training_layers
from finetune.methods import METHODS
from finetune.methods.schedules import SCHEDULES
from finetune.tasks import TASKS


def main(config: TrainingConfig) -> None:
    if config.dry_run:
        print(describe(config))
        return
    from finetune import training

    training.run(config, METHODS[config.method], load_backend(config.backend))


if __name__ == "__main__":
    choices: dict[str, Mapping[str, object]] = {
        "tasks": TASKS,
        "methods": METHODS,
        "backends": BACKENDS,
        "schedules": SCHEDULES,
    }
    cli.run(main, TrainingConfig, choices=choices, layers=training_layers)
