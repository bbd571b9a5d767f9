"""What a run tells a person before its first step and after its last."""

from finetune.errors import shell_command
from finetune.methods import Method, epoch_steps
from finetune.models.examples import examples_of
from finetune.records import files
from finetune.records.times import in_parts
from finetune.settings import advice
from finetune.settings.config import TrainingConfig
from finetune.terminal import Console, counted
from finetune.training.inputs import Inputs
from finetune.training.session import Session


def announce(config: TrainingConfig, method: Method, inputs: Inputs, steps: int, console: Console) -> None:
    """Print what is trained on what, and what is unusual about the settings."""
    console.say(overview(config, method, inputs, steps))
    rows = len(inputs.train)
    for note in advice.notes(config, rows, steps / epoch_steps(config, rows)):
        console.say(f"Note: {note}")


def overview(config: TrainingConfig, method: Method, inputs: Inputs, steps: int) -> str:
    """The run in one line: model, rows, steps and epochs."""
    rows, examples = len(inputs.train), examples_of(inputs.train)
    tokens = sum(len(example.tokens) for example in examples)
    learned = sum(sum(example.loss_mask) for example in examples)
    if method.rollouts:
        what = f"{counted(rows, 'prompt')} of {tokens / rows:.0f} tokens, {config.grpo_group_size} sampled answers each"
    else:
        kind = "preference pair" if method.pairs else "training row"
        count = counted(rows, kind)
        if rows != inputs.rows:
            count = f"{counted(inputs.rows, kind)} in {counted(rows, 'example')}"
        what = f"{count} of {tokens / rows:.0f} tokens ({learned / tokens:.0%} in the loss)"
    batches = "" if config.grad_accumulation == 1 else f"{config.grad_accumulation} batches of "
    start = f" with {config.from_adapter}" if config.from_adapter else ""
    epochs = steps / epoch_steps(config, rows)
    return (
        f"Model {inputs.folder.name}{start}, {what}, {counted(steps, 'step')} of {batches}{counted(config.batch_size, 'row')}"
        f" = {epochs:.1f} epochs"
    )


def conclude(session: Session, *, over: bool = False) -> None:
    """Draw the curve and print what came out, where it is, and what to do next. ``over``: the run had ended long before."""
    with session.times.of("curve"):
        session.metrics.draw_curve()
    config, state, say = session.config, session.state, session.console.say
    done = "This run had already finished, nothing was done" if over else "Done"
    say(f"{done}: {counted(session.trainer.position.step, 'step')} in {_times(session)}; {_outcome(session)}.")
    if sum(state.seconds_on.values()):
        rollout, reward = (state.seconds_on[name] / state.seconds for name in ("rollout", "reward"))
        say(f"Training time: {rollout:.0%} sampling, {reward:.0%} rewards, {1 - rollout - reward:.0%} updates.")
    if state.best.step == 0:
        start = f"the adapters of {config.from_adapter}" if config.from_adapter else "the untrained adapters"
        say(f"No validation improved on the starting model: {config.adapter_path} holds {start}.")
    found = state.best.against_start
    if found and found.low is not None and found.high is not None:
        verdict = "better" if found.low > 0 else "the difference can be chance"
        best_of = f", widened for the best of {count}" if (count := state.best.validations) > 1 else ""
        say(
            f"Reward on the validation rows: {found.base:.3f} -> {found.tuned:.3f}, {found.difference:+.3f}"
            f" (95 % interval {found.low:+.3f} to {found.high:+.3f}{best_of}): {verdict}."
        )
    say(f"Adapters: {config.adapter_path / session.adapter_file}; curve: {config.adapter_path / files.CURVE}")
    if session.trainer.adapter_config.get("embeddings"):
        fuse = shell_command("python", "-m", "finetune", "fuse", config.adapter_path, "--output", "FOLDER")
        say(f"For mlx-lm, which refuses adapters with embeddings, and for transformers: {fuse}")
    compare = ("python", "test_finetuned.py", "--adapter-path", config.adapter_path)
    say(f"Better than the base model? {shell_command(*compare)}")
    if config.from_adapter:
        say(f"Better than before? {shell_command(*compare, '--against', config.from_adapter)}")


def _times(session: Session) -> str:
    return in_parts(session.wall_seconds, {"steps": session.state.seconds, **session.state.seconds_of})


def _outcome(session: Session) -> str:
    measure, best = session.measure, session.state.best
    if measure is None or best.value is None:
        return "without validation rows, the last adapters are kept"
    early = f"stopped early because the validation {measure.name} no longer improved, " if session.stopped_early else ""
    return f"{early}best validation {measure.name} {best.value:.3f} at step {best.step}"
