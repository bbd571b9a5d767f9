"""Fine-tune a model with LoRA on the rows that dataset.py wrote; the adapters go to checkpoints/.

python train.py --quick-test        100 steps of 2 rows, to see that everything works
python train.py                     standard: 2000 steps of 4 rows
python train.py --conservative      800 steps, gentle, with early stopping
python train.py --resume            go on with a run that was stopped or killed
"""

from finetune import scripts
from finetune.backends import load_backend, resolved
from finetune.config import TrainingConfig, describe
from finetune.methods import METHODS


def main(config: TrainingConfig) -> None:
    method = METHODS[config.method]
    if config.validate:
        from finetune import precheck

        precheck.run(config)
        return
    config = resolved(config)
    backend = load_backend(config.backend)
    if config.dry_run:
        from finetune import contradictions, plan_view, planning

        print(describe(config, dict(contradictions.without_effect(config))), flush=True)
        if plan := planning.make(config, method, backend):
            plan_view.show(plan)
            if plan.learnable:
                plan.learnable.check(config)
        return
    if config.export_mlx_lm:
        from finetune import mlx_lm_export

        mlx_lm_export.export(config, config.export_mlx_lm)
        return
    from finetune import training

    training.run(config, method, backend)


if __name__ == "__main__":
    scripts.run(main, TrainingConfig)
