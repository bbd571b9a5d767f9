"""The settings of a recorded run, as those of this version."""

from pathlib import Path

from finetune.records.run import RunRecord
from finetune.settings.config import TrainingConfig
from finetune.settings.fields import Given, Layer, build, flag, flags_of


def training_config(record: RunRecord, path: Path) -> TrainingConfig:
    """The settings of ``record``, which was read from ``path``: a run of another version can lack some, and have others.

    A setting that the record lacks has the default of this version; one that this version does not know is ignored (see
    ``unknown_settings``). UserError, with path and key, if a value does not fit its setting or is out of range; its choices are
    not checked.
    """
    return build(TrainingConfig, [recorded_layer(record, path)], {})


def recorded_layer(record: RunRecord, path: Path) -> Layer:
    """The recorded settings that this version knows, as a source of values; errors about one name ``path`` and the setting."""
    known = {field.name for field in flags_of(TrainingConfig)}
    return str(path), {k: Given(v, f"{path}: config.{k}") for k, v in record.config.items() if k in known}


def unknown_settings(record: RunRecord) -> list[str]:
    """The flags of the run that this version does not have, in the order of the record."""
    known = {field.name for field in flags_of(TrainingConfig)}
    return [flag(name) for name in record.config if name not in known]
