"""Converts a model that has only PyTorch's pickles (pytorch_model.bin, in one file or in shards) to safetensors.

MLX reads only safetensors. A pickle can run any code, so PyTorch's loader for weights alone reads it, once, in a child
process (``python -m finetune.models.pytorch_bin``): what the loader lets pass can still take any memory or never end. Both MLX
and transformers must load the result; MLX is the stricter one.
"""

import json
import pickle
import re
import shutil
import struct
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from errno import EIO
from fnmatch import fnmatch
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.errors import UserError, first_line, shortened
from finetune.models import child
from finetune.records.files import file_hash

if TYPE_CHECKING:
    import torch

CONFIGURATION = ["*.json", "*.jinja", "*.txt", "tokenizer.model"]  # a model's files but for the weights
INDEX = "pytorch_model.bin.index.json"
FILES = ["pytorch_model*.bin", INDEX]  # others, such as training_args.bin, are not weights
# What torch.load raises for a file that is not a checkpoint: its unpickler does not check the structure of the bytes.
_NO_CHECKPOINT: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
)
_NO_CHECKPOINT += (OverflowError, MemoryError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile)
# Old versions of transformers saved these buffers. Today's compute them, and MLX refuses them as unknown parameters.
_BUFFERS = re.compile(r"(^|\.)(masked_bias|rotary_emb\.inv_freq|position_ids)$")
_MASK = re.compile(r"(^|\.)(attn|attention)\.bias$")  # a causal mask if it has four dimensions; a bias has one
_SECONDS = 120  # of a core for a conversion, and a second more for each 2 MB
_MOST_SHARED = 3  # times the size of a file that its tensors may have; a tied output matrix shares the embedding's data
_HEADS = ("lm_head.weight", "embed_out.weight")
_PREFIXES = {"gpt2": "transformer."}  # by model_type: mlx-lm expects names without it; transformers takes both

Weights = dict[str, "torch.Tensor"]


def has_weights(names: Collection[str]) -> bool:
    """Whether a folder with files of these names holds PyTorch's weights."""
    return INDEX in names or "pytorch_model.bin" in names


def require_torch(name: str) -> None:
    """UserError about the model ``name`` if PyTorch, which the conversion needs, is not installed."""
    if find_spec("torch") is None:
        raise UserError(
            f"{name}: its weights are PyTorch pickles, and converting them needs PyTorch (run: make setup-torch)"
        )


def content_hash(folder: Path) -> str:
    """The SHA-256 (hex) of all files of ``folder`` that a conversion reads. UserError if one cannot be read."""
    content = sha256()
    try:
        for path in sorted([*_copied(folder), *folder.glob(FILES[0]), *folder.glob(INDEX)]):
            content.update(f"{path.name} {file_hash(path)}\n".encode())
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None
    return content.hexdigest()


def convert(source: Path, folder: Path) -> None:
    """Convert the model in ``source`` into the existing ``folder``: one safetensors file for each file of weights.

    Needs PyTorch and a valid config.json. UserError if ``source`` holds more or other than weights; OSError if writing fails.
    """
    size = sum(path.stat().st_size for path in _weight_files(source))
    limits = {"seconds": _SECONDS + size // 2_000_000, "memory": 10**9 + 4 * size}
    try:
        problem, code, errno = child.run(__name__, [str(source), str(folder)], **limits)
    except child.Ended as ended:
        raise UserError(f"{source}: its weights cannot be converted: reading them {ended}") from None
    if errno:
        raise OSError(errno, problem)
    if problem:
        raise UserError(problem, code)


def _answer(request: tuple[str, str]) -> tuple[str, int, int]:
    """In the child process: convert one folder into another. What is wrong, with an exit code, or with the system's number."""
    try:
        _convert(*map(Path, request))
    except UserError as error:
        return str(error), error.exit_code, 0
    except OSError as error:
        return error.strerror or str(error), 0, error.errno or EIO
    except RuntimeError as error:  # of PyTorch
        return f"{request[0]}: its weights cannot be converted: {shortened(first_line(error), 200)}", 2, 0
    return "", 0, 0


def _convert(source: Path, folder: Path) -> None:
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    files = {path: _load(path) for path in _weight_files(source)}
    weights: Weights = {}
    for path, loaded in files.items():
        if twice := loaded.keys() & weights.keys():
            raise UserError(f"{path}: tensor {min(twice)!r} is also in another file")
        weights |= loaded
    dropped = {name for name, tensor in weights.items() if _is_buffer(name, tensor)} | _tied_heads(config, weights)
    if not weights.keys() - dropped:
        raise UserError(f"{source}: the files of weights hold no weights")
    prefix = _PREFIXES.get(config["model_type"], "")
    _save(
        [
            {name.removeprefix(prefix): tensor for name, tensor in loaded.items() if name not in dropped}
            for loaded in files.values()
        ],
        folder,
    )
    for path in _copied(source):
        shutil.copyfile(path, folder / path.name)


def _copied(folder: Path) -> list[Path]:
    """All files but the weights and their index, which would name files that the new folder does not have."""
    return [
        path
        for path in sorted(folder.iterdir())
        if any(fnmatch(path.name, pattern) for pattern in CONFIGURATION)
        and ".index." not in path.name
        and path.is_file()
    ]


def _weight_files(folder: Path) -> list[Path]:
    if not (folder / INDEX).is_file():
        return [folder / "pytorch_model.bin"]
    try:
        names = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        paths = [folder / name for name in sorted(names) if fnmatch(name, FILES[0]) and Path(name).name == name]
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise UserError(f"{folder / INDEX}: does not list files of weights ({error})") from None
    if len(paths) < len(names) or not names:
        raise UserError(f"{folder / INDEX}: does not list files of weights called {FILES[0]}")
    if missing := [path.name for path in paths if not path.is_file()]:
        raise UserError(f"{folder}: not a complete model folder: {'; '.join(f'{name} is missing' for name in missing)}")
    return paths


def _load(path: Path) -> Weights:
    """The tensors of one file, by name. They are read from the disk on use, unless the file is older than 2020."""
    import torch

    try:
        with path.open("rb"), warnings.catch_warnings(action="ignore"):
            if is_mapped := zipfile.is_zipfile(path):
                _demand_plain(path)
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except _NO_CHECKPOINT as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path}: refused: the pickle holds more than weights ({shortened(found[1])}) and could run any code"
            ) from None
        raise UserError(f"{path}: not a file of PyTorch weights, or damaged (download it again)") from None
    if not isinstance(loaded, dict) or not loaded:
        raise UserError(f"{path}: not a dictionary of weights")
    if problems := list(_problems(loaded, _MOST_SHARED * path.stat().st_size)):
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise UserError(f"{path}: {'; '.join(problems[:4])}{more}")
    return loaded


def _demand_plain(path: Path) -> None:
    """ValueError if what is in the zip file takes more than the file itself. PyTorch compresses nothing."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ValueError("compressed")


def _problems(loaded: Mapping[Any, Any], most: int) -> Iterator[str]:
    """One clause for each entry that is not a dense tensor of finite floating-point numbers; in all, ``most`` bytes of them."""
    import torch

    taken = 0
    for key, tensor in loaded.items():
        name = shortened(repr(key))
        if not isinstance(key, str) or not key.isprintable() or key == "__metadata__":
            yield f"{name} is not the name of a tensor"
        elif not isinstance(tensor, torch.Tensor):
            yield f"{name} is a {type(tensor).__name__}, not a tensor"
        elif tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            yield f"{name} is an unsupported kind of tensor ({tensor.layout}, {tensor.dtype}, {tensor.device})"
        elif tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            yield f"{name} is larger than its data in the file"
        elif (taken := taken + tensor.numel() * tensor.element_size()) > most:
            yield f"{name} and those before it share their data, and take more than {_MOST_SHARED} times the file"
            return
        elif _is_buffer(key, tensor):
            continue
        elif tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            yield f"{name} has the type {tensor.dtype}, not float32, float16 or bfloat16"
        elif not torch.isfinite(tensor).all():
            yield f"{name} holds values that are not finite"


def _is_buffer(name: str, tensor: "torch.Tensor") -> bool:
    return bool(_BUFFERS.search(name) or (_MASK.search(name) and tensor.dim() == 4))


def _tied_heads(config: Mapping[str, Any], weights: Weights) -> set[str]:
    """The names of output matrices that repeat the embedding, if the config ties the two. mlx-lm refuses such copies.

    They are compared by value, because weights that were cast after tying do not share memory any more.
    """
    import torch

    is_tied = config.get("tie_word_embeddings")
    if is_tied is None:  # the default of the architecture
        from transformers import AutoConfig

        try:
            is_tied = getattr(AutoConfig.for_model(config["model_type"]), "tie_word_embeddings", False)
        except ValueError:  # an architecture that transformers does not know
            is_tied = False
    return {
        head
        for head in _HEADS
        if is_tied and head in weights
        for name, tensor in weights.items()
        if name != head and tensor.shape == weights[head].shape and torch.equal(tensor, weights[head])
    }


def _save(shards: list[Weights], folder: Path) -> None:
    """Write the shards under the names that the loaders expect: one file, or several and their index."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    shards = [shard for shard in shards if shard]
    places: dict[str, str] = {}
    size = 0
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        whole: Weights = {}
        storages = set()
        for name, tensor in shard.items():
            tensor = tensor.detach().contiguous()
            is_shared = tensor.untyped_storage().data_ptr() in storages
            storages.add(tensor.untyped_storage().data_ptr())
            whole[name] = tensor.clone() if is_shared else tensor  # safetensors refuses shared memory
            size += tensor.numel() * tensor.element_size()
        try:
            save_file(whole, folder / file, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(EIO, first_line(error)) from None  # like any other failed write
        places |= dict.fromkeys(whole, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": size}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)  # each thread has a memory of its own
    child.answer(_answer)
