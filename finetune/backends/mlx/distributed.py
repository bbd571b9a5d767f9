"""Several processes that train one model: each takes a share of every batch, and their sums are added up.

``mlx.launch`` starts them and tells each its number; without it there is one. What all must agree on (whether to stop,
the validation loss) is summed as well, so that every process takes the same way.
"""

import os
from collections.abc import Sequence
from typing import Any

from finetune.backends.mlx.runtime import Arrays, mx
from finetune.errors import UserError, first_line
from finetune.signals import Stop


class Ranks:
    """The processes of this run. With one, every method is free."""

    def __init__(self) -> None:
        self._group = mx.distributed.init(strict=True) if "MLX_RANK" in os.environ else None
        self.rank = self._group.rank() if self._group else 0
        self.size = self._group.size() if self._group else 1

    def share(self, rows: Sequence[Any]) -> list[Any]:
        """The rows of this process; may be none."""
        return list(rows[self.rank :: self.size])

    def total(self, arrays: Arrays) -> Arrays:
        """The sum of each array over all processes, in one exchange."""
        if self.size == 1:
            return arrays
        flat = mx.concatenate([array.astype(mx.float32).reshape(-1) for array in arrays.values()])
        flat = mx.distributed.all_sum(flat, group=self._group, stream=mx.cpu)
        try:
            mx.eval(flat)
        except RuntimeError as error:
            raise UserError(
                f"another process of this run is gone: {first_line(error)} (--resume continues from the last training state)",
                exit_code=1,
            ) from None
        sums, at = {}, 0
        for name, array in arrays.items():
            sums[name] = flat[at : at + array.size].reshape(array.shape)
            at += array.size
        return sums

    def any(self, stop: Stop) -> bool:
        """Whether ``stop`` returns True in any of them."""
        return stop() if self.size == 1 else self.total({"stop": mx.array([float(stop())])})["stop"].item() > 0
