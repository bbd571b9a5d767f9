"""Learning rate schedules: what share of the peak learning rate a step gets after the warm-up."""

import math
from collections.abc import Callable

Schedule = Callable[[float], float]  # progress through the run, 0 to 1 -> factor, 0 to 1

SCHEDULES: dict[str, Schedule] = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1.0 - progress,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
}


def warmup_steps(wanted: int, steps: int) -> int:
    """Half of the run at most."""
    return min(wanted, steps // 2)


def learning_rate(step: int, steps: int, peak: float, warmup: int, schedule: Schedule) -> float:
    """The rate of a step, counted from 1: up linearly during ``warmup`` steps, then down by ``schedule``."""
    warmup = warmup_steps(warmup, steps)
    if step <= warmup:
        return peak * step / (warmup + 1)
    return peak * schedule((step - warmup) / (steps - warmup + 1))
