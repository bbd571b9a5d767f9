"""Commands beside the four scripts; each explains itself with --help.

python -m finetune init FILE          look at your rows, and write a run.yml for all four scripts
python -m finetune doctor             check this machine, and how to fix what is missing
python -m finetune models             list the cached models; --remove NAME deletes one
python -m finetune convert-adapter    convert adapters between MLX and PEFT
python -m finetune export             fuse adapters into a model folder or GGUF files, and prove it
python -m finetune fuse               the same as export --to model
python -m finetune completion bash    shell completion of all flags: eval "$(...)"; or zsh
"""

import shutil
import sys

if sys.version_info < (3, 11):  # noqa: UP036  before the imports below, which an older one cannot read
    sys.exit(f"error: Python {sys.version.split()[0]} is too old (3.11 or later is needed: make setup looks for one)")

from finetune import signals

if __name__ == "__main__":  # before the imports, which take a moment
    signals.exit_at_once()

from dataclasses import dataclass
from importlib import import_module

from finetune import __version__
from finetune.errors import UserError
from finetune.settings import command_line
from finetune.terminal import show

COMMANDS = {  # each has a main and a Config, and CHOICES where a flag takes a name
    "init": "finetune.commands.init.command",
    "doctor": "finetune.commands.doctor.command",
    "models": "finetune.commands.models",
    "convert-adapter": "finetune.commands.convert_adapter",
    "export": "finetune.commands.export",
    "fuse": "finetune.commands.fuse",
}


@dataclass(frozen=True)
class NoFlags:
    """All flags belong to a command."""


def main() -> None:
    name, *argv = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        command = import_module(COMMANDS[name])
        sys.argv[0] = f"python -m finetune {name}"
        command_line.run(command.main, command.Config, choices=getattr(command, "CHOICES", None), argv=argv)

    def other(_: NoFlags) -> None:
        if name == "completion":
            from finetune.commands import completion

            show(*completion.script(argv[0] if len(argv) == 1 else " ".join(argv)).split("\n"))
        elif name == "--version":
            show(f"finetune {__version__}")
        elif name in ("-h", "--help"):
            show(*command_line.fitted(__doc__ or "", max(40, shutil.get_terminal_size().columns)).split("\n"))
        else:
            raise UserError(f"unknown command {name!r} (choose from {', '.join([*COMMANDS, 'completion'])})")

    command_line.run(other, NoFlags, argv=[])


if __name__ == "__main__":
    main()
