"""The start of a run: settings taken from the adapters or the run that it continues, and its record."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from finetune.backends import AUTO
from finetune.errors import UserError, path_of, shell_command
from finetune.methods import METHODS
from finetune.models.encoder import ChatEncoder
from finetune.models.find import ModelFolder, cache_to_avoid
from finetune.models.fingerprint import fingerprint
from finetune.records import files, machine
from finetune.records.dataset import DatasetRecord
from finetune.records.run import STARTED, Data, Model, RunRecord, read_run
from finetune.settings.config import TrainingConfig
from finetune.settings.described import describe
from finetune.settings.fields import Layer, flag, flags_of
from finetune.settings.layers import file_layers, strongest, training_layers
from finetune.settings.recorded import recorded_layer, training_config, unknown_settings
from finetune.tasks import TASKS
from finetune.terminal import say
from finetune.training import folder

# settings that can differ when a run is resumed: they do not change what it computes
_FREE = {"adapter_path", "report_to", "show_samples", "steps_per_save", "dataset_type", "data_dir"}
_FREE |= {field.name for field in flags_of(TrainingConfig) if not field.metadata["in_file"]}


def layers(explicit: Mapping[str, object]) -> list[Layer]:
    """The sources of settings that no flag gives: file, profile and mode, or the record of the run that is resumed."""
    if not explicit.get("resume"):
        return training_layers(explicit, lambda given: [*(begun := _of_start(given)), *_of_pieces([*given, *begun])])
    given = file_layers(TrainingConfig, explicit)
    # these are compared with the record
    adapter_path = Path(str(strongest([("flag", explicit), *given], "adapter_path") or TrainingConfig.adapter_path))
    place, recorded = recorded_layer(read_run(adapter_path), adapter_path / files.RUN_RECORD)
    kept = {field.name for field in flags_of(TrainingConfig) if field.metadata["in_file"]}
    return [*given, (place, {name: value for name, value in recorded.items() if name in kept})]


# settings that belong to the adapters of --from-adapter
_OF_START = (
    *("model", "template", "backend", "fine_tune_type"),
    *("lora_rank", "lora_scale", "lora_alpha", "rslora", "lora_layers", "lora_modules", "train_embeddings"),
)


def _of_start(given: Sequence[Layer]) -> list[Layer]:
    """Settings recorded with the adapters of ``--from-adapter``: the model, the shape of the adapters and, unless the method
    needs other rows, the folder of the rows."""
    chosen = strongest(given, "from_adapter")
    if chosen is None:
        return []
    path = path_of(str(chosen), "--from-adapter")
    record = read_run(path)
    recorded = {name: record.config[name] for name in _OF_START if name in record.config}
    method = METHODS.get(str(strongest(given, "method") or "sft"))
    if method and not method.columns:
        recorded["data_dir"] = record.data.folder
    return [(str(path / files.RUN_RECORD), recorded)]


def _of_pieces(given: Sequence[Layer]) -> list[Layer]:
    """The model that documents were cut for, and the length of their pieces."""
    path = path_of(str(strongest(given, "data_dir") or TrainingConfig.data_dir), "--data-dir") / files.DATASET_RECORD
    pieces = DatasetRecord.read(path).pieces if path.is_file() else None
    if pieces is None:
        return []
    return [(str(path), {"model": pieces.model, "max_seq_length": pieces.max_seq_length})]


def check_start(config: TrainingConfig) -> None:
    """UserError if the adapter folder cannot take this run, or the settings do not fit the adapters of ``--from-adapter``."""
    if config.resume:
        folder.refuse_links(config.adapter_path)
        return
    others = {"the folder of the rows": config.data_dir, **cache_to_avoid()}
    if config.model and Path(config.model).is_dir():
        others["the model"] = Path(config.model)
    if config.from_adapter:
        others["the folder of --from-adapter"] = config.from_adapter
    files.check_apart("--adapter-path", config.adapter_path, others)
    folder.check(config.adapter_path, with_tokenizer=config.add_tokens is not None)
    if config.from_adapter is None:
        return
    begun = read_run(config.from_adapter)
    recorded = begun.config
    # plain text has no template: the next step can choose one
    free = {"template"} if TASKS[begun.task].plain_text else set()
    different = [
        f"{flag(name)} was {_short(recorded[name])}, is now {_short(getattr(config, name))}"
        for name in _OF_START
        if name in recorded.keys() - free
        and _plain(recorded[name]) != _plain(getattr(config, name))
        and (name, getattr(config, name)) != ("backend", AUTO)
    ]
    if different:
        raise UserError(
            f"--from-adapter: {config.from_adapter} was trained with other settings: {'; '.join(different)} (omit these flags)"
        )


def describe_run(
    config: TrainingConfig, model: ModelFolder, encoder: ChatEncoder, dataset: DatasetRecord, device: str
) -> RunRecord:
    """What decides the results of a run, and its machine. UserError if a file of the user's functions cannot be read."""
    return RunRecord(
        config={name: getattr(config, name) for name in config.origins},
        origins=config.origins,
        task=dataset.type,
        model=Model(model.name, model.source, model.revision, str(model.path.resolve()), fingerprint(model.path)),
        template=None if encoder.own_template else encoder.template,
        template_sha256=files.text_hash(encoder.template),
        switches=encoder.switches,
        end=encoder.end.added or None,
        new_tokens=tuple(encoder.new_tokens.tokens) if encoder.new_tokens else (),
        data=Data(str(config.data_dir.resolve()), dataset.source, dataset.files),
        reward_sha256=hash_of("--grpo-reward", config.grpo_reward),
        scorer_sha256=hash_of("--scorer", config.scorer),
        command=shell_command("python", *sys.argv),
        started=encoder.now.strftime(STARTED),
        device=device,
        machine=machine.describe(),
    )


def hash_of(flag: str, path: Path | None) -> str | None:
    """SHA-256 of the file that a flag names; None without one. UserError if it cannot be read."""
    try:
        return files.file_hash(path) if path else None
    except OSError as error:
        raise UserError(
            f"{flag}: {path}: {(error.strerror or str(error)).lower()} (name a file that can be read)"
        ) from None


def start(
    config: TrainingConfig,
    record: RunRecord,
    adapter_config: Mapping[str, object],
    model_key: str,
    save_begun: Callable[[Path], None] | None,
) -> None:
    """Write the records that say what will make these adapters; ``model_key`` of adapter_config.json is their model.

    An earlier run in the folder is moved to ``previous``, where it can still be resumed. ``save_begun`` writes the adapters
    that the run begins with, which --resume needs: their own file can have changed by then.
    """
    folder.set_aside(config.adapter_path)
    record.write(config.adapter_path / files.RUN_RECORD)  # first: it says that the other files are a run's
    if save_begun:
        save_begun(config.adapter_path / files.START)
    adapter_config = {**adapter_config, model_key: record.model.path}
    files.write_json(config.adapter_path / files.ADAPTER_CONFIG, adapter_config)
    files.write_text(config.adapter_path / files.TRAINING_CONFIG, "\n".join([*describe(config), ""]))


def check_same(adapter_path: Path, now: RunRecord) -> None:
    """UserError (exit 3) that lists every difference between the recorded run and the one that would resume it."""
    then = read_run(adapter_path)
    compared = _settings(adapter_path, then, now.config)
    compared += [(f"rows in {name}", then.data.files.get(name), sha256) for name, sha256 in now.data.files.items()]
    compared.append(("weights of the model", then.model.fingerprint, now.model.fingerprint))
    compared.append(("file of --grpo-reward", then.reward_sha256, now.reward_sha256))
    compared.append(("file of --scorer", then.scorer_sha256, now.scorer_sha256))
    compared.append(("chat template", then.template_sha256, now.template_sha256))
    added = [files.text_hash("\n".join(record.new_tokens)) for record in (then, now)]
    compared.append(("tokens of --add-tokens", added[0], added[1]))
    _demand_same(adapter_path, compared)
    if unknown := unknown_settings(then):
        say(f"Note: unknown settings in {adapter_path / files.RUN_RECORD} are ignored: {', '.join(unknown)}.")
    if now.machine and not now.machine.computes_as(then.machine):
        say("Note: the machine or its software has changed since the run began; results can differ in the last digits.")


def check_settings(config: TrainingConfig) -> None:
    """UserError (exit 3) if settings differ from those of the run to be resumed. Loads nothing."""
    settings = {name: getattr(config, name) for name in config.origins}
    _demand_same(config.adapter_path, _settings(config.adapter_path, read_run(config.adapter_path), settings))


def _settings(adapter_path: Path, then: RunRecord, now: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """Each setting that decides what a run does, as recorded (or, in a run of an older version, its default) and now."""
    recorded = training_config(then, adapter_path / files.RUN_RECORD)
    return [(flag(name), getattr(recorded, name), value) for name, value in now.items() if name not in _FREE]


def _demand_same(adapter_path: Path, compared: list[tuple[str, object, object]]) -> None:
    different = [(what, f"{what} was {_short(old)}, is now {_short(new)}") for what, old, new in compared if old != new]
    if not different:
        return
    changed = "settings" if all(what.startswith("--") for what, _ in different) else "inputs"
    remedy = "use the original values, or start a new run without --resume"
    if {what for what, _ in different} <= {"--iters", "--epochs"}:
        begin = shell_command("--from-adapter", adapter_path)
        remedy = f"to train longer, start a new run with {begin} and another --adapter-path"
    elif {what for what, _ in different}.isdisjoint(map(flag, _OF_START)) and changed == "settings":
        begin = shell_command("--from-adapter", adapter_path)
        remedy = f"use the original values; or go on with others in a new run: {begin} and another --adapter-path"
    raise UserError(
        f"cannot resume {adapter_path}: {changed} changed: {'; '.join(text for _, text in different)} ({remedy})",
        exit_code=3,
    )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text[:8] if len(text) == 64 else text  # a hash
