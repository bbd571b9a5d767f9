"""What is exported: the adapters in a folder, whoever made them, with the model and the chat template that they belong to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.errors import UserError, shortened
from finetune.evaluation.tuned_run import TunedRun, open_run
from finetune.export.trained import Trained, read_mlx, read_peft
from finetune.models.encoder import ChatEncoder
from finetune.models.find import find_model
from finetune.models.fingerprint import fingerprint
from finetune.records import files
from finetune.records.export import ExportedFile, ExportRecord

_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Source:
    """Adapters and what they belong to. ``name`` is what the user calls the model; ``run`` is None if train.py did not make
    them: then there are no rows to try the result on."""

    folder: Path
    model: Path
    name: str
    encoder: ChatEncoder
    settings: Mapping[str, Any]  # adapter_config.json
    of_peft: bool
    run: TunedRun | None = None

    @cached_property
    def base(self) -> str:
        """The fingerprint of the model's weights."""
        return fingerprint(self.model)

    @cached_property
    def trained(self) -> Trained:
        """What was trained. UserError (exit 3) if it is damaged or belongs to another model."""
        read = read_peft if self.of_peft else read_mlx
        return read(self.folder, self.settings, self.base)

    @property
    def chat_template(self) -> str:
        """The Jinja text of the training's template; "" if it trained on texts without one."""
        found = self.encoder.tokenizer.chat_template
        return str(found["default"] if isinstance(found, Mapping) else found or "")

    def record(self, to: str, found: Sequence[ExportedFile], dequantised: int) -> ExportRecord:
        """What is known of every export: its source, the files ``found`` and how many matrices were ``dequantised``."""
        return ExportRecord(
            source=str(self.folder.resolve()),
            model=self.name,
            base=self.base,
            adapters=str(self.trained),
            adapters_sha256=files.file_hash(self.trained.path),
            template_sha256=files.text_hash(self.chat_template),
            to=to,
            files=tuple(found),
            dequantised=dequantised,
        )


def open_source(folder: Path, model: str | None, say: Callable[[str], None]) -> Source:
    """The adapters in ``folder``; ``model`` names their model where they do not name it themselves.

    UserError if there are none, or if their model or its template is gone.
    """
    if (folder / files.RUN_RECORD).exists():
        if model is not None:
            raise UserError(f"--model: {folder / files.RUN_RECORD} names the model of this run (omit --model)")
        run = open_run(folder)
        of_peft = run.backend.FORMAT.file == files.PEFT_ADAPTERS
        settings = _settings(folder, of_peft=of_peft)
        return Source(folder, run.model_path, run.record.model.name, run.encoder, settings, of_peft, run)
    of_peft = (folder / files.PEFT_ADAPTERS).is_file()
    if not of_peft and not (folder / files.ADAPTERS).is_file():
        pickled = (folder / "adapter_model.bin").exists()
        remedy = "save it as safetensors: a pickle can run any code" if pickled else "name the folder of a run"
        raise UserError(f"{folder}: no {files.ADAPTERS} and no {files.PEFT_ADAPTERS} in it ({remedy})")
    settings = _settings(folder, of_peft=of_peft)
    named = model or settings.get("base_model_name_or_path" if of_peft else "model")
    if not isinstance(named, str) or not named:
        raise UserError(
            f"{folder / files.ADAPTER_CONFIG}: does not name the model of the adapter (name it with --model)"
        )
    try:
        found = find_model(named, say)
    except UserError as error:
        if model is not None:
            raise
        raise UserError(
            f"{folder / files.ADAPTER_CONFIG}: base model: {error} (if it is elsewhere, name it with --model)"
        ) from None
    encoder = ChatEncoder(found.path, _template(folder, say), name=found.name, chats=False)
    return Source(folder, found.path, found.name, encoder, settings, of_peft)


def _settings(folder: Path, *, of_peft: bool) -> Mapping[str, Any]:
    path = folder / files.ADAPTER_CONFIG
    settings = files.read_json(path, "what made the adapter")
    if of_peft:
        from finetune.export.adapters import peft_side

        try:
            peft_side.check(path, settings)
        except UserError as error:
            raise UserError(f"{error} (merge it with merge_and_unload of PEFT)") from None
    return settings


def _template(folder: Path, say: Callable[[str], None]) -> str | None:
    """The chat template that lies beside an adapter of others, which is that of its training; None for the model's own."""
    path = folder / _TEMPLATE
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {shortened(str(error))}") from None
    say(f"Note: the chat template is the one beside the adapters, {path}.")
    return text
