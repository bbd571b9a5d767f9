"""PyTorch keeps its own BLAS in a process where MLX's fast one is loaded for everything after it.

Both libraries have ``cblas_sgemm_batch``, with other arguments. PyTorch calls it by name, for every batched matrix product, and
would reach the one that was loaded first: a crash. With RTLD_DEEPBIND a library looks for a name in itself first.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any


def install() -> None:
    """Have PyTorch, whoever imports it later, look for its functions in itself."""
    if hasattr(os, "RTLD_DEEPBIND") and "torch" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """The loader of a package, which it imports with RTLD_DEEPBIND."""

    def __init__(self, loader: Loader):
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        before = sys.getdlopenflags()
        if sys.platform == "linux":
            sys.setdlopenflags(before | os.RTLD_DEEPBIND)
        try:
            self._loader.exec_module(module)
        finally:
            sys.setdlopenflags(before)

    def __getattr__(self, name: str) -> object:  # what importlib.resources and inspect ask a loader
        return getattr(self._loader, name)
