"""The one place where MLX is imported first: on Linux a fast BLAS must be in the process before it.

The ``mlx-cpu`` wheel carries reference BLAS (about 9 GFLOP/s in fp32 on two cores); with OpenBLAS loaded before
``import mlx.core`` the same matrix products run 30 to 50 times faster. macOS and CUDA need none of this.
"""

import ctypes
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

from finetune.backends.mlx import own_symbols
from finetune.errors import UserError
from finetune.settings import environment

__all__ = [
    "BLAS",
    "CACHE_LIMIT",
    "DTYPE",
    "GPU_STEP",
    "ON_CPU",
    "SLOW_BLAS_REMEDY",
    "Arrays",
    "cores",
    "describe",
    "evaluate",
    "is_leader",
    "mx",
    "streams",
    "with_gradient",
]

_LINUX = sys.platform == "linux"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
SLOW_BLAS_REMEDY = "install libopenblas0: apt install libopenblas0-pthread"
_KEPT_SHARE = 8  # of a GPU's memory: one in so many bytes may be kept for reuse
_MLX_LM_FILES = 4096
_BLAS_VARIABLE = "FINETUNE_BLAS"  # path of a BLAS library to use instead of the ones looked for


def _load_blas() -> str | None:
    """Load a fast BLAS for every library loaded later, and return its name; None if there is none."""
    if not _LINUX:
        return None
    if "mlx.core" in sys.modules:
        raise RuntimeError("mlx.core was imported before finetune.backends.mlx.runtime")
    if "OPENBLAS_CORETYPE" not in os.environ and _has_avx512():
        os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"  # OpenBLAS does not choose AVX-512 by itself on most AMD chips
    if path := os.environ.get(_BLAS_VARIABLE):
        if not _loaded(path):
            raise UserError(f"{_BLAS_VARIABLE}: {path} cannot be loaded (give the path of a BLAS library, or unset it)")
        return path
    return "libopenblas.so.0" if _loaded("libopenblas.so.0") else _load_bundled_blas()


def _loaded(path: str) -> bool:
    global _set_blas_threads
    try:
        library = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    _set_blas_threads = getattr(library, "openblas_set_num_threads", None)
    return True


def _load_bundled_blas() -> str | None:
    """The ``ngsolve-openblas`` wheel needs a libgfortran.so.5, which a bare machine lacks but the mlx-cpu wheel carries
    under another name. OpenBLAS looks for it in the folder it is opened from, so it is opened from a folder of links."""
    try:
        openblas = Path(str(distribution("ngsolve-openblas").locate_file("ngsolve_openblas")))
        fortran = Path(str(distribution("mlx-cpu").locate_file("mlx_cpu.libs")))
    except PackageNotFoundError:
        return None
    names = {"libopenblas": "libopenblas.so.0", "libgfortran": "libgfortran.so.5"}
    with tempfile.TemporaryDirectory() as folder:
        for library in (*openblas.glob("libopenblas*.so*"), *fortran.glob("lib*.so*")):
            (Path(folder) / names.get(library.name[:11], library.name)).symlink_to(library)
        return "ngsolve-openblas" if _loaded(f"{folder}/libopenblas.so.0") else None


def cores() -> int:
    """The cores that this process may use; a container or taskset may leave it fewer than there are."""
    if sys.platform == "linux":  # by this name, so that mypy knows what other systems lack
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _has_avx512() -> bool:
    wanted = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    flags = next((line for line in lines if line.startswith("flags")), "")
    return wanted <= set(flags.split())


def _keep_freed_memory() -> None:
    """Have malloc reuse freed arrays instead of handing them back to the kernel after each operation.

    MLX allocates every result anew on the CPU. With glibc's defaults each array of some megabytes means fresh pages, which
    cost more than the arithmetic: SwiGLU on 1.35 million values takes 13.9 ms, with this 6.4 ms.
    """
    libc = ctypes.CDLL(None)
    if _LINUX and hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc allows
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _look_ahead(*, on_cpu: bool) -> None:
    """Set how widely MLX looks for operations to hand out, which it reads at its first evaluation.

    On the CPU, with its own 20, a stream often waits while the other's operations are handed out one after another: a step
    takes a twentieth longer. On a GPU, which has one stream, more of them would only hold more memory.
    """
    if on_cpu:
        os.environ.setdefault("MLX_BFS_MAX_WIDTH", "400")


_set_blas_threads: Callable[[int], None] | None = None
BLAS = _load_blas()
if BLAS is not None:
    own_symbols.install()
_keep_freed_memory()

import mlx.core as mx  # noqa: E402  the BLAS above must be in the process first

CACHE_LIMIT = 0  # bytes that MLX keeps for reuse at most; on the CPU it keeps none


def _passed_over() -> bool:
    """Let MLX compute where FINETUNE_DEVICE says, instead of on a GPU if there is one; whether one is left unused by that."""
    wanted, has_gpu = environment.device(), mx.is_available(mx.gpu)
    if wanted == "gpu" and not has_gpu:
        raise UserError(f"{environment.DEVICE}=gpu: MLX has no GPU here (unset it, or set it to cpu)")
    if wanted:
        mx.set_default_device(mx.gpu if wanted == "gpu" else mx.cpu)
    return wanted == "cpu" and has_gpu


_PASSED_OVER = _passed_over()
ON_CPU = mx.default_device().type == mx.cpu
_look_ahead(on_cpu=ON_CPU)
# Whether steps are compiled and evaluated ahead, as a GPU needs it. For measurements and tests FINETUNE_GPU_STEP=1 asks for it
# on the CPU, where it needs g++ and is slower, and 0 leaves it off on a GPU.
GPU_STEP = os.environ.get("FINETUNE_GPU_STEP") == "1" if os.environ.get("FINETUNE_GPU_STEP") else not ON_CPU
if ON_CPU and not GPU_STEP:
    mx.disable_compile()  # on the CPU mx.compile runs the C++ compiler, which a machine may lack, for each new shape
if not ON_CPU and (
    _memory := mx.device_info().get("memory_size") or mx.device_info().get("total_memory")
):  # of Metal, of CUDA
    # What is freed is kept for arrays of about the same size, and batches are of many sizes: without a limit, a run of 7 GB
    # came to hold more than 100 GB of a GPU, which other programs then lacked.
    CACHE_LIMIT = int(_memory) // _KEPT_SHARE
    mx.set_cache_limit(CACHE_LIMIT)


def _import_mlx_lm_below_its_limit() -> None:
    """mlx_lm raises the limit of open files to 4096 when it is imported, which fails where the system allows fewer."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or most >= _MLX_LM_FILES:
        return
    original = resource.setrlimit
    resource.setrlimit = lambda *_: None
    try:
        import mlx_lm.utils  # noqa: F401
    finally:
        resource.setrlimit = original


_import_mlx_lm_below_its_limit()
_streams: list[Any] = []
# matrix products on the CPU are fast in fp32 only; on a GPU weights are kept, and answers computed, in half precision
Arrays = dict[str, Any]  # MLX arrays by name


def _dtype() -> Any:
    """float32 on the CPU; on a GPU bfloat16, which an M1 or M2 emulates, or float16 by FINETUNE_PRECISION, for answers."""
    if ON_CPU and environment.precision():
        raise UserError(f"{environment.PRECISION}: MLX computes in float32 on the CPU (unset it)")
    return mx.float32 if ON_CPU else mx.float16 if environment.precision() == "float16" else mx.bfloat16


DTYPE = _dtype()


def streams(work: int) -> list[Any]:
    """Streams that run side by side on the CPU's cores, for up to ``work`` independent pieces; one stream elsewhere.

    Elementwise operations use one core, so two halves of a batch, each with its own core, finish sooner than one after
    the other with both cores on every matrix product. Gives each stream its share of the BLAS threads. The halves belong
    into one graph with one scalar at its end: MLX then schedules the operations of both in turn. A graph and a thread for
    each stream, or many arrays to evaluate at once, took a fifth longer.
    """
    available = cores()
    count = min(work, available) if ON_CPU and _set_blas_threads is not None else 1
    if _set_blas_threads is not None:
        _set_blas_threads(available // count)
    while len(_streams) < count:
        _streams.append(mx.new_stream(mx.default_device()))
    return _streams[:count] if count > 1 else [mx.default_stream(mx.default_device())]


def evaluate(arrays: Sequence[Any]) -> None:
    """Compute arrays of one graph: on the CPU by one scalar that needs all, see ``streams``. On a GPU that would be a chain of
    two more kernels for each."""
    if ON_CPU:
        mx.eval(sum(array.sum() for array in arrays))
    else:
        mx.eval(*arrays)


def with_gradient(backward: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``mx.custom_function`` whose ``backward(primals, cotangents, outputs)`` runs on the stream of its forward call.

    MLX sees to that for its own operations only: a custom gradient would run on the default stream, where both streams of a
    step would wait for it.
    """

    def decorate(forward: Callable[..., Any]) -> Callable[..., Any]:
        made: dict[str, Any] = {}  # functions of mlx, by stream

        def on(stream: Any) -> Callable[..., Any]:
            def run(*arguments: Any) -> Any:
                with mx.stream(stream):
                    return backward(*arguments)

            return run

        def call(*inputs: Any) -> Any:
            stream = mx.default_stream(mx.default_device())
            if (key := repr(stream)) not in made:
                made[key] = mx.custom_function(forward)
                made[key].vjp(on(stream))
            return made[key](*inputs)

        return call

    return decorate


_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # how Open MPI and MPICH tell a process how many there are


def is_leader() -> bool:
    """Whether this process is the one, of those that ``mlx.launch`` started, that writes files and prints.

    UserError if MPI has started several: each would take itself for the only one.
    """
    if "MLX_RANK" not in os.environ and any(os.environ.get(name, "1") not in ("", "0", "1") for name in _MPI):
        raise UserError("mlx.launch --backend mpi: not supported (use --backend ring, or jaccl over Thunderbolt)")
    return int(os.environ.get("MLX_RANK", "0")) == 0


def _gpu() -> str:
    """The kind of the GPU with its name, "Metal (Apple M2 Pro)"."""
    kind = "Metal" if sys.platform == "darwin" else "CUDA"
    name = mx.device_info().get("device_name")
    return f"{kind} ({name})" if name else kind


def describe() -> str:
    """One line for the terminal: device, precision and BLAS; what to install if that is slow."""
    if not ON_CPU:
        return f"MLX {version('mlx')} on {_gpu()}, {str(DTYPE).removeprefix('mlx.core.')}"
    line = f"MLX {version('mlx')} on the CPU ({cores()} core{'s' if cores() > 1 else ''}), float32"
    if _PASSED_OVER:
        line += f" ({environment.DEVICE}=cpu: not on the GPU)"
    if not _LINUX:
        return line
    if BLAS is None:
        return f"{line}, reference BLAS: 30 times slower than OpenBLAS ({SLOW_BLAS_REMEDY})"
    return f"{line}, BLAS: {BLAS} {os.environ.get('OPENBLAS_CORETYPE', '')} on {platform.machine()}".rstrip()
