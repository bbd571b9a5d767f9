"""The environment: what ./.env may add to it, and the values that a library would not survive.

Called before anything that imports the Hub's client: it reads most variables once, when it is imported.
"""

import io
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from finetune.errors import TOKENS, UserError
from finetune.terminal import say

# Nothing else: a folder that somebody sent must not choose where a token goes, or what is loaded into the process.
_TAKEN = (*TOKENS, "FINETUNE_CACHE")
_MISSED = re.compile("HF_|HUGGING|FINETUNE_|TRANSFORMERS_|SSL_CERT_|REQUESTS_CA_BUNDLE|XDG_CACHE_HOME|.*_PROXY$")
_MOST_BYTES = 64 << 10  # of .env
_DAY = 24 * 3600
_NUMBERS = {  # whole numbers, and the smallest and largest that make sense
    "HF_HUB_DOWNLOAD_TIMEOUT": (0, _DAY),
    "HF_HUB_ETAG_TIMEOUT": (0, _DAY),
    "HF_DATASETS_IN_MEMORY_MAX_SIZE": (0, 2**63 - 1),
    "FINETUNE_GPU_STEP": (0, 1),
    "MLX_BFS_MAX_WIDTH": (1, 2**31 - 1),  # with 0, also what MLX makes of a word, it waits for ever
    **dict.fromkeys(("MLX_RANK", "RANK", "LOCAL_RANK", "WORLD_SIZE"), (0, 2**31 - 1)),
}
DEVICE = "FINETUNE_DEVICE"
_DEVICES = ("cpu", "gpu")
PRECISION = "FINETUNE_PRECISION"
_PRECISIONS = ("bfloat16", "float16")
_noted: set[str] = set()


def load() -> None:
    """Take a token and FINETUNE_CACHE from ./.env, if the environment lacks them, and check the environment.

    Other variables in .env are not used; a note names those that somebody may have meant to be. UserError if .env cannot be
    read, or a variable has a value with which a library could not be imported.
    """
    given = {name: value for name, value in _dotenv().items() if value and name not in os.environ}
    for name in _TAKEN:
        if value := given.pop(name, None):
            os.environ[name] = value if name in TOKENS else os.path.expandvars(value)
    missed = [name for name in given if name.isidentifier() and _MISSED.match(name.upper())]
    if missed and not _noted.issuperset(missed):
        _noted.update(missed)
        say(f"Note: {', '.join(missed)} in .env {'is' if len(missed) == 1 else 'are'} not used (set it in the shell)")
    for name in TOKENS:  # the client does not know all of the names
        if value := os.environ.get(name):
            os.environ.setdefault(TOKENS[0], value)
    if chosen := os.environ.get("FINETUNE_CACHE"):
        try:
            Path.home()
        except RuntimeError:  # the client's cache would be in the home folder
            os.environ.setdefault("HF_HOME", str(Path(chosen, "huggingface").absolute()))
    _check()


def device() -> str | None:
    """Where a backend computes by FINETUNE_DEVICE: "cpu" or "gpu"; None if it says nothing. UserError for anything else."""
    return _chosen(DEVICE, _DEVICES)


def precision() -> str | None:
    """What MLX answers in on a GPU by FINETUNE_PRECISION: "bfloat16" or "float16"; None if it says nothing. UserError for
    anything else."""
    return _chosen(PRECISION, _PRECISIONS)


def _chosen(name: str, choices: Sequence[str]) -> str | None:
    found = os.environ.get(name)
    if found and found not in choices:
        raise UserError(f"{name}: not {' or '.join(choices)} (change it, or unset it)")
    return found or None


def _dotenv() -> Mapping[str, str | None]:
    """The variables of ./.env; nothing if there is none, or a folder has that name."""
    from dotenv import dotenv_values

    path = Path(".env")
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            return {}
        if not stat.S_ISREG(kind):  # nobody may write to a pipe
            raise UserError(".env: not a file (rename it, or make it a file with a line HF_TOKEN=...)")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES or b"\0" in data:
            what = "it contains a NUL character" if b"\0" in data else f"it is larger than {_MOST_BYTES >> 10} kB"
            raise UserError(f".env: {what} (make it a text with a line HF_TOKEN=..., or remove it)")
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f".env: cannot be read: {error.strerror} (change its permissions, or remove it)") from None
    except UnicodeDecodeError:
        raise UserError(".env: not UTF-8 text (save it as UTF-8)") from None
    return dotenv_values(stream=io.StringIO(text), interpolate=False)


def _check() -> None:
    device()
    precision()
    for name, (least, most) in _NUMBERS.items():
        text = os.environ.get(name)
        if text is not None and not (
            text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most
        ):
            raise UserError(f"{name}: not a whole number from {least} to {most} (change it, or unset it)")
    if not (endpoint := os.environ.get("HF_ENDPOINT", "").strip()):
        os.environ.pop("HF_ENDPOINT", None)  # to the client, an empty one is an address
    elif not is_address(endpoint):
        raise UserError("HF_ENDPOINT: not the address of a server (set it to https://HOST, or unset it)")


def is_address(text: str) -> bool:
    """Whether the text is http(s)://HOST, perhaps with user, port and path, and nothing that a client would choke on."""
    try:
        parts = urlsplit(text)
        return (
            bool((parts.hostname or "").encode("idna"))
            and parts.scheme in ("http", "https")
            and (parts.port is None or parts.port > 0)
            and not (parts.query or parts.fragment)
            and text.isprintable()
            and not any(letter.isspace() for letter in text)
        )
    except ValueError:
        return False
