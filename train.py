"""Fine-tune a model with LoRA on the rows that dataset.py wrote; the adapters go to checkpoints/.

python train.py --quick-test        100 steps of 2 rows, to see that everything works
python train.py                     standard: 2000 steps of 4 rows
python train.py --conservative      800 steps, gentle, with early stopping
python train.py --resume            go on with a run that was stopped or killed
"""

from collections.abc import Mapping

from finetune import cli, run_record
from finetune.backends import BACKENDS, load_backend
from finetune.backends.base import OPTIMIZERS
from finetune.config import FINE_TUNE_TYPES, TrainingConfig, describe
from finetune.methods import METHODS
from finetune.methods.schedules import SCHEDULES
from finetune.reporters import REPORTERS
from finetune.tasks import TASKS


def main(config: TrainingConfig) -> None:
    method = METHODS[config.method]
    if config.validate:
        from finetune import precheck

        precheck.run(config)
        return
    backend = load_backend(config.backend)
    if config.dry_run:
        from finetune import plan_view, planning

        print(describe(config), flush=True)
        if plan := planning.make(config, method, backend):
            plan_view.show(plan)
        return
    from finetune import training

    training.run(config, method, backend)


if __name__ == "__main__":
    choices: dict[str, Mapping[str, object]] = {
        "tasks": TASKS,
        "methods": METHODS,
        "backends": BACKENDS,
        "schedules": SCHEDULES,
        "optimizers": OPTIMIZERS,
        "fine_tune_types": dict.fromkeys(FINE_TUNE_TYPES),
        "reporters": REPORTERS,
    }
    cli.run(main, TrainingConfig, choices=choices, layers=run_record.layers)
