"""What each numeric flag of the four scripts says to bad numbers, as a table: python tests/bad_input_table.py

``test_bad_config.py`` takes its cases from here.
"""

import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from finetune.errors import UserError, shortened
from finetune.scripts import CHOICES, layers_of
from finetune.settings import command_line
from finetune.settings.config import SECTIONS, FileConfig
from finetune.settings.fields import build, flag, flags_of

BAD = ["0", "-1", "nan", "inf", "1e99", "text", "", "1_000", "01", "9" * 5000]


def configured(script: str, *argv: object) -> FileConfig:
    """The configuration that a script would start with, contradictions not yet looked for."""
    config_class = SECTIONS[script]
    explicit = command_line.parse(config_class, CHOICES, list(map(str, argv)), "")
    return build(config_class, [("flag", explicit), *layers_of(config_class)(explicit)], CHOICES)


def numeric_flags() -> Iterator[tuple[str, Any]]:
    """(script, field) of every flag that takes a number."""
    for script, config_class in SECTIONS.items():
        hints = typing.get_type_hints(config_class)
        for field in flags_of(config_class):
            if {int, float} & {hints[field.name], *typing.get_args(hints[field.name])}:
                yield script, field


def answer(script: str, flag: str, value: str) -> str | None:
    """What is said to a value of a flag; None where it is taken."""
    try:
        configured(script, f"{flag}={value}")
    except UserError as error:
        assert error.exit_code == 2
        return str(error)
    return None


def main() -> None:
    for script, field in numeric_flags():
        name = flag(field.name)
        for value in BAD:
            said = answer(script, name, value)
            print(f"{script:<10} {name:<20} {shortened(value) or repr(''):<20.20} {said or 'taken'}")


if __name__ == "__main__":
    main()
