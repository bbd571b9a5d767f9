"""Completion of the four scripts' flags on the command line, as a script for the shell.

``eval "$(python -m finetune completion bash)"`` completes ``python train.py --<TAB>``, ``./train.py`` and ``train.py``: flags,
the names that a flag takes, files.
"""

from pathlib import Path

from finetune.errors import UserError
from finetune.scripts import CHOICES
from finetune.settings.config import SECTIONS
from finetune.settings.fields import flag, flags_of, kind_of

SHELLS = ("bash", "zsh")
_FILES = {"test": "test_finetuned.py"}
_TAKES_FILES = {"model", "template", "dataset_name"}  # names, but also paths

_FUNCTION = """\
_finetune() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} script= words= i
    for ((i = 0; i < COMP_CWORD; i++)); do
        case "${COMP_WORDS[i]##*/}" in
@SCRIPTS@ ) script=${COMP_WORDS[i]##*/}; break ;;
        esac
    done
    [ -n "$script" ] || return 0
    case "$script $previous" in
@VALUES@
    *) case "$script" in
@FLAGS@
        esac ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _finetune python python3 @SCRIPT_NAMES@
"""


def script(shell: str) -> str:
    """What the shell has to read. UserError for a shell that is not in ``SHELLS``."""
    if shell not in SHELLS:
        wrong = f"there is no {shell!r}" if shell else "which shell?"
        raise UserError(f"completion: {wrong} (choose from {', '.join(SHELLS)})")
    files = {name: _FILES.get(name, f"{name}.py") for name in SECTIONS}
    values, flags = [], []
    for name, file in files.items():
        names = ["--help", "--version"]
        for field in flags_of(SECTIONS[name]):
            kind, _ = kind_of(SECTIONS[name], field)
            names.append(flag(field.name))
            if kind is bool:
                names.append(flag(f"no_{field.name}"))
                continue
            words = " ".join(CHOICES.get(field.metadata["choices"] or "", ()))
            files_too = kind is Path or field.name in _TAKES_FILES
            values.append(
                f'    "{file} {flag(field.name)}") ' + ("return 0 ;;" if files_too else f'words="{words}" ;;')
            )
        flags.append(f'        {file}) words="{" ".join(names)}" ;;')
    text = _FUNCTION.replace("@SCRIPTS@", " " * 12 + " | ".join(files.values()))
    text = text.replace("@VALUES@", "\n".join(values)).replace("@FLAGS@", "\n".join(flags))
    text = text.replace("@SCRIPT_NAMES@", " ".join(f"{file} ./{file}" for file in files.values()))
    return ("autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else "") + text
