"""Every backend offers what ``backends.interface`` says, by the same names and arguments."""

import inspect
from importlib.util import find_spec
from typing import Any

import pytest

from finetune.backends import BACKENDS, load_backend
from finetune.backends.interface import Backend, Model, Trainer


def members(protocol: Any) -> set[str]:
    return {name for base in protocol.__mro__ for name in vars(base) if not name.startswith("_")}


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_fills_the_interface(name: str, tiny_model: Any) -> None:
    if name == "torch" and find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    backend: Any = load_backend(name)
    classes = {Model: type(backend.load(tiny_model, None)), Trainer: backend.Trainer}
    for protocol, found in {Backend: backend, **classes}.items():
        for member in members(protocol):
            wanted, own = getattr(protocol, member), getattr(found, member, None)
            if not callable(wanted):
                continue  # a value: mypy compares it
            expected = list(inspect.signature(wanted).parameters)[1:] if protocol is Backend else None
            assert callable(own), f"{name}: {member}"
            assert expected is None or [*inspect.signature(own).parameters] == expected, f"{name}: {member}"
