"""Which models a Mac trains, by its memory: the table of docs/guides/on-a-mac.md.

    python benchmarks/mac_sizes.py

Computed, not measured on Macs: it is what ``python -m finetune doctor`` says of a machine of that size, from steps in bfloat16
on very small models, here on the CPU. What Metal may use is taken for two thirds of the memory up to 32 GiB, and three quarters
above; ``doctor`` asks the Mac itself.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from finetune.backends.mlx.runtime import mx  # isort: skip  before the rest of MLX
from finetune.backends.interface import DeviceMemory
from finetune.backends.mlx import memory_estimate
from finetune.commands.doctor import capacity
from finetune.training import plan

_MACS = (8, 16, 24, 36, 64, 128)  # GiB
_LARGE = 32  # GiB: above, a larger part may be used


def of_mac(gib: int) -> capacity.Device:
    """A Mac with so much memory, all of it free."""
    total = (3 / 4 if gib > _LARGE else 2 / 3) * gib * 2**30
    kept = gib * 2**30 / 8  # as runtime.py sets the limit of MLX's cache
    memory = DeviceMemory(total, total, "Metal may use", kept, 0.95 * total)
    return capacity.Device("Metal", memory_estimate.Probe(), "bfloat16", memory)


def main() -> None:
    setattr(memory_estimate, "DTYPE", mx.bfloat16)  # noqa: B010  as on Metal
    step = capacity.measured(memory_estimate.Probe())
    estimates = {
        kind: {name: capacity.estimate(of_mac(8), step, shape, how) for name, shape in capacity.LADDER.items()}
        for kind, how in capacity.KINDS.items()
    }
    print(f"| Mac with | Metal may use | {' | '.join(estimates)} |\n|{'---|' * (2 + len(estimates))}")
    for gib in _MACS:
        memory = of_mac(gib).memory
        cells = []
        for sizes in estimates.values():
            needed = {name: plan.needed_mb(found, memory) * 1e6 for name, found in sizes.items()}
            fitting = [f"{name} ({size / 1e9:.1f} GB)" for name, size in needed.items() if size <= memory.total]
            cells.append(fitting[-1] if fitting else "less than 0.4B")
        print(f"| {gib} GB | {memory.total / 1e9:.1f} GB | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
