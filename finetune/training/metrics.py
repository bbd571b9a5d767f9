"""metrics.jsonl: a line every few steps, and one for each validation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from finetune.backends.interface import Step
from finetune.errors import one_line, shortened
from finetune.records import files
from finetune.records.run import keep_metrics, read_metrics
from finetune.terminal import format_bytes
from finetune.training.reporters import Log


class Metrics:
    """Writes lines of metrics to their file and to the reporter; ``writes`` is False in all processes but the leader."""

    def __init__(self, folder: Path, send: Log, *, writes: bool):
        self._folder, self._send, self._writes = folder, send, writes

    def append(self, line: Mapping[str, object]) -> None:
        if self._writes:
            files.append_jsonl(self._folder / files.METRICS, dict(line))
            self._send(line)

    def drop_after(self, step: int, validated: int) -> None:
        """Drop the reports after ``step`` and the validations after ``validated``: a resumed run writes them again."""
        if self._writes:
            keep_metrics(self._folder, step, validated)

    def draw_curve(self) -> None:
        """Write the run's curve as a picture beside the adapters."""
        from finetune.report.curve import curve_picture

        picture = curve_picture(read_metrics(self._folder), shortened(one_line(self._folder.resolve().name), 24))
        if self._writes and picture is not None:
            with files.atomic(self._folder / files.CURVE) as temporary:
                temporary.write_bytes(picture)


def report(steps: Sequence[Step]) -> dict[str, object]:
    """The line of metrics.jsonl about these steps. The loss is their mean, by the weight of each."""
    seconds = sum(step.seconds for step in steps)
    weight = sum(step.weight for step in steps)
    names = {name: None for step in steps for name in step.metrics}
    metrics = {name: [step.metrics[name] for step in steps if name in step.metrics] for name in names}
    return {
        "step": steps[-1].step,
        "loss": sum(step.loss * step.weight for step in steps) / weight if weight else 0.0,
        "learning_rate": steps[-1].learning_rate,
        "tokens_per_second": sum(step.tokens for step in steps) / seconds,
        "rows_per_second": sum(len(step.rows) for step in steps) / seconds,
        "peak_memory_mb": steps[-1].peak_memory_mb,
        **{name: sum(values) / len(values) for name, values in metrics.items()},
    }


def summary(step: Step) -> str:
    """A step in a few words, for the progress bar."""
    if "reward" in step.metrics:
        seen = step.metrics
        return (
            f"reward {seen['reward']:.3f}, {seen['completion_length']:.0f} tokens a completion,"
            f" {seen['frac_reward_zero_std']:.0%} of groups without signal"
        )
    return f"loss {step.loss:.3f}, {step.tokens / step.seconds:.0f} tokens/s, {format_bytes(step.peak_memory_mb * 1e6)}"
