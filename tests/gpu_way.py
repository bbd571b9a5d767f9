"""The GPU's way on any device: compiled steps, and answers that are read one token late."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import UserError

_LIBRARIES = ("libmlx.so", "libmlx.dylib")
_SET_MODE = "_ZN3mlx4core16set_compile_modeENS0_11CompileModeE"
_WITHOUT_KERNELS = (
    2  # CompileMode::no_fuse: traced and replayed, but no operations are made one, for which the CPU needs g++
)


@contextmanager
def gpu_way(patch: pytest.MonkeyPatch, *, half: bool = False) -> Iterator[None]:
    """Within the block trainers and decoders do as on a GPU; ``half``: in bfloat16 too. On a GPU nothing is changed."""
    from finetune.backends.mlx import cpu_math, decoding, model, training
    from finetune.backends.mlx.runtime import ON_CPU, mx

    if not ON_CPU:
        yield
        return
    folder = Path(str(mx.__file__)).parent / "lib"
    library: Any = next((ctypes.CDLL(str(folder / name)) for name in _LIBRARIES if (folder / name).exists()), None)
    if not hasattr(library, _SET_MODE):
        pytest.skip("this MLX cannot compile without a C++ compiler")
    patch.setattr(training, "GPU_STEP", True)
    patch.setattr(decoding, "GPU_STEP", True)
    if half:  # those for the CPU are of float32
        cpu_math.remove()
        patch.setattr(cpu_math, "install", lambda: None)
        patch.setattr(model, "DTYPE", mx.bfloat16)
    getattr(library, _SET_MODE)(_WITHOUT_KERNELS)
    try:
        yield
    finally:
        mx.disable_compile()


def main() -> None:
    """For make test-gpu: whether the device that FINETUNE_DEVICE names is there."""
    try:
        import finetune.backends.mlx.runtime  # noqa: F401
    except UserError as error:
        sys.exit(f"No test was run. {error}")


if __name__ == "__main__":
    main()
