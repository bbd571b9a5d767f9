"""Fine-tune a model with LoRA on the rows that dataset.py wrote; the adapters go to checkpoints/.

python train.py --quick-test        100 steps with batch size 2, to check that everything works
python train.py                     standard: 2000 steps with batch size 4
python train.py --conservative      800 steps, low learning rate, dropout, early stopping
python train.py --resume            resume a run that was stopped or killed
"""  # PYTHON_ARGCOMPLETE_OK

from finetune import signals

if __name__ == "__main__":  # before the imports, which take a moment
    signals.exit_at_once()

from finetune import scripts
from finetune.backends import load_backend, resolved
from finetune.methods import METHODS
from finetune.settings.config import TrainingConfig
from finetune.settings.described import describe


def main(config: TrainingConfig) -> None:
    method = METHODS[config.method]
    if config.validate:
        from finetune.training import check_only

        check_only.run(config)
        return
    config = resolved(config)
    backend = load_backend(config.backend)
    if config.dry_run:
        from finetune import terminal
        from finetune.settings import conflicts
        from finetune.training import plan, plan_view

        terminal.show(*describe(config, dict(conflicts.without_effect(config))))
        if planned := plan.make(config, method, backend):
            plan_view.show(planned)
            if planned.reward_probe:
                planned.reward_probe.check(config)
        return
    if config.export_mlx_lm:
        from finetune.training import mlx_lm_export

        mlx_lm_export.export(config, config.export_mlx_lm)
        return
    from finetune.training import run

    run.train(config, method, backend)


if __name__ == "__main__":
    scripts.run(main, TrainingConfig)
