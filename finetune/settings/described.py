"""The settings of a run as lines for a person, each with where it came from."""

from collections.abc import Mapping

from finetune.errors import one_line
from finetune.settings.config import TrainingConfig
from finetune.settings.fields import flag, flags_of
from finetune.settings.modes import of_other_method


def describe(config: TrainingConfig, idle: Mapping[str, str] | None = None) -> list[str]:
    """A line for each setting and where it came from, without those of other methods; ``-`` for none.

    ``idle``: the settings without effect, and what makes them so.
    """
    words = {None: "-", True: "yes", False: "no"}
    rows = []
    for setting in flags_of(type(config)):
        name, value = setting.name, getattr(config, setting.name)
        if setting.metadata["in_file"] and not of_other_method(name, config.method):
            said = words[value] if value is None or isinstance(value, bool) else str(value)
            why = f" (no effect {idle[name]})" if idle and name in idle else ""
            rows.append((flag(name), said, config.origins[name] + why))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [one_line(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}") for name, value, origin in rows]
