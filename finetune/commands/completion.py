"""Completion of the four scripts' flags on the command line, by argcomplete, as a script for the shell.

``eval "$(python -m finetune completion bash)"`` completes ``python train.py --<TAB>``: flags, names that a flag takes, files.
The script asks train.py itself, which answers in about a fifth of a second.
"""

from importlib.resources import files

from finetune.errors import UserError

_EVERY_COMMAND = {"bash": "-D -F _python_argcomplete_global", "zsh": "compdef _python_argcomplete_global -default-"}
_PYTHON = {
    "bash": "-F _python_argcomplete_global python python3",
    "zsh": "compdef _python_argcomplete_global python python3",
}
SHELLS = tuple(_PYTHON)
# zsh has compdef only after compinit; a second one would take time, and ask about folders that others may write
_COMPINIT = "(( $+functions[compdef] )) || { autoload -U compinit && compinit -i; }\n"


def script(shell: str) -> str:
    """What the shell has to read. UserError for a shell that is not in ``SHELLS``."""
    if shell not in SHELLS:
        wrong = f"unknown shell {shell!r}" if shell else "which shell?"
        raise UserError(f"completion: {wrong} (choose from {', '.join(SHELLS)})")
    text = files("argcomplete").joinpath("bash_completion.d/_python-argcomplete").read_text(encoding="utf-8")
    # for python alone: the default completion of all other commands stays the user's own
    text = text.replace(_EVERY_COMMAND[shell], _PYTHON[shell])
    return (_COMPINIT if shell == "zsh" else "") + text
