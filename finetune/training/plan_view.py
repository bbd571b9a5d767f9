"""The plan of --dry-run as text: steps, memory, time, and whether this machine has enough memory."""

import math
import textwrap

from finetune.backends.interface import MemoryEstimate
from finetune.methods.schedules import warmup_steps
from finetune.settings import advice
from finetune.terminal import counted, format_bytes, format_seconds, results
from finetune.training.plan import Plan

_BAR = 24  # columns of the longest bar, where there is room
_INDENT = 9


def show(plan: Plan) -> None:
    console = results()

    def _print(title: str, text: str, style: str = "") -> None:
        first, below = f"{title:<{_INDENT}}", " " * _INDENT
        for line in textwrap.wrap(text, max(40, console.width), initial_indent=first, subsequent_indent=below):
            console.print(line, style=style)

    work = plan.work
    block = "█" if console.encoding.startswith("utf") else "#"
    console.print()
    for title, lines in (
        ("Rows", [_rows(plan)]),
        ("Steps", [_steps(plan)]),
        ("Model", [_model(plan)]),
        ("Memory", _memory(plan, block * min(_BAR, console.width - 44))),
        ("Time", [_time(plan)]),
        ("Reward", [*plan.reward_probe.lines(), *plan.reward_probe.examples()] if plan.reward_probe else []),
    ):
        for number, line in enumerate(lines):
            _print(title if number == 0 else "", line)
    notes = [f"{note}." for note in plan.memory.notes]
    for note in [*notes, *advice.notes(plan.config, work.rows, work.epochs, plan.memory.thinnest)]:
        _print("Note", note, style="yellow")


def _rows(plan: Plan) -> str:
    work = plan.work
    shortest, median, longest = work.lengths
    left_out = f", {work.left_out} skipped as too long" if work.left_out else ""
    if plan.reward_probe:
        return (
            f"{work.rows:,} prompts{left_out}, {work.valid_rows:,} to validate; {shortest} to {longest} tokens,"
            f" median {median}; answers of {plan.reward_probe.completion_length:.0f} tokens"
        )
    return (
        f"{work.rows:,} to train on{left_out}, {work.valid_rows:,} to validate; {work.tokens:,} tokens,"
        f" {work.learned / work.tokens:.0%} in the loss; {shortest} to {longest} a row, median {median}"
    )


def _steps(plan: Plan) -> str:
    config, work = plan.config, plan.work
    batches = "" if config.grad_accumulation == 1 else f"{config.grad_accumulation} x "
    if plan.reward_probe:
        return (
            f"{work.steps:,} of {batches}{counted(config.batch_size, 'prompt')} with {config.grpo_group_size} answers each"
            f" = {work.epochs:.1f} epochs; {warmup_steps(config.warmup, work.steps)} steps of warmup"
        )
    return (
        f"{work.steps:,} of {batches}{counted(config.batch_size, 'row')} = {work.epochs:.1f} epochs"
        f" ({work.steps_per_epoch:,} steps each), {work.padding:.0%} padding;"
        f" {warmup_steps(config.warmup, work.steps)} steps of warmup"
    )


def _model(plan: Plan) -> str:
    found = plan.memory
    return (
        f"{plan.model}: {_count(found.parameters)} parameters in {found.layers} layers;"
        f" {_count(found.trainable)} ({found.trainable / found.parameters:.1%}) trained{_modules(found)}"
    )


def _modules(found: MemoryEstimate) -> str:
    if not found.modules:
        return ""
    experts = f", {found.experts} of them with one for each expert" if found.experts else ""
    matrices = " and in the embeddings" if found.embeddings_mb else ""
    return f" in adapters of {counted(found.modules, 'module')}{experts}{matrices}"


def _memory(plan: Plan, bar: str) -> list[str]:
    found = plan.memory
    parts = {
        "weights": found.weights_mb,
        "adapters": found.adapters_mb,
        "optimizer": found.optimizer_mb,
        "embeddings, gradient": found.embeddings_mb,
        f"step, in {found.layers} layers": found.layers_mb,
        "step, head and loss": max(0.0, found.head_and_loss_mb - found.embeddings_mb),
    }
    if not found.layers_mb:
        parts["step"] = parts.pop("step, head and loss")
    parts = {name: size for name, size in parts.items() if size or not name.startswith(("embeddings", "step, in"))}
    if kept := plan.device.kept(found) / 1e6:
        parts["kept for reuse"] = kept
    parts["margin and Python"] = plan.needed_mb - found.peak_mb - kept
    how = "measured" if not found.layers_mb else f"from {found.measured_layers[-1]} of {found.layers} layers"
    if math.isinf(plan.total_mb):
        free = "free memory unknown on this system"
    else:
        verdict = "it fits" if plan.fits else "it does NOT fit"
        total = _gb(plan.total_mb) + (f" that {plan.device.owner}" if plan.device.owner else "")
        free = f"{_gb(plan.available_mb)} of {total} free: {verdict}"
    lines = [
        f"{_gb(found.peak_mb)} peak with the longest batch ({how}), {_gb(plan.needed_mb)} with Python and"
        f" a margin; {free}"
    ]
    most = max(parts.values())
    for name, size in parts.items():
        lines.append(f"  {name:<20} {_gb(size):>9}  {bar[: round(len(bar) * size / most)]}".rstrip())
    if not plan.fits:
        lines.append(_remedy(plan))
    return lines


def _remedy(plan: Plan) -> str:
    if plan.remedy:
        return f"It would fit in {_gb(plan.remedy.needed_mb)} with {plan.remedy.change}."
    if plan.needed_mb <= plan.total_mb:
        return "It would fit if other programs were closed."
    return "It does not fit even with smaller batches and shorter rows: use a smaller model (--model)."


def _time(plan: Plan) -> str:
    seconds, config = plan.seconds, plan.config
    more = f", {counted(plan.validations, 'validation')}" if plan.validations else ""
    early = ", less if it stops early" if config.patience else ""
    return f"about {format_seconds(float(f'{seconds:.2g}'))}: {plan.seconds_per_step:.1f} s a step{more}{early}"


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _gb(megabytes: float) -> str:
    return format_bytes(megabytes * 1e6)
