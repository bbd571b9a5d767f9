"""train.py --validate: checks settings and rows without a model, fast enough to be run after every change of the rows."""

from finetune.methods import METHODS, epoch_steps, total_steps
from finetune.models.templates import find_template
from finetune.settings import advice, conflicts
from finetune.settings.config import TrainingConfig
from finetune.tasks.own_scorer import check_scorer
from finetune.terminal import say, show
from finetune.training import inputs, start
from finetune.training.reporters import library_of


def run(config: TrainingConfig) -> None:
    """Print what was checked; UserError for what is wrong."""
    dataset, rows = inputs.read_rows(config, METHODS[config.method].columns)
    find_template(config.template)
    inputs.tokens_added(config)
    start.hash_of("--grpo-reward", config.grpo_reward)
    if config.report_to:
        library_of(config.report_to)
    conflicts.check_text(config, plain_text=dataset.pieces is not None)
    check_scorer(config.scorer, config.scorer_seconds, [row for _, row in rows["valid"] or rows["train"]])
    train, valid = len(rows["train"]), len(rows["valid"])
    steps = total_steps(config, train)
    conflicts.check_warmup(config, steps)
    conflicts.check_validation(config, valid)
    epochs = steps / epoch_steps(config, train)
    show(f"Rows: {train} to train on, {valid} to validate, unchanged since dataset.py checked them ({dataset.type})")
    show(f"Settings: {steps} steps = {epochs:.1f} epochs")
    for note in advice.notes(config, train, epochs):
        say(f"Note: {note}")
    show("Valid. To see the memory and time a run needs: python train.py --dry-run")
