"""One model: whether MLX loads it, reads its config.json as transformers does, and computes the same logits."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from finetune.backends.logits import Agreement, compare
from finetune.commands.doctor.finding import Finding
from finetune.errors import UserError, shell_command
from finetune.models.find import ModelFolder, find_model
from finetune.records import files
from finetune.terminal import say

_INSTALL = "make setup-torch"


def examine(name: str, copy: Path | None) -> Iterator[Finding]:
    """The findings about a model: its folder, its config.json, its logits. ``copy`` is written if it is asked for."""
    from finetune.backends.mlx.loading import load

    found = find_model(name, say)
    try:
        loaded = load(found.path, quiet=True)
    except UserError as error:
        problem, _, remedy = str(error).rpartition(" (")
        yield Finding("model", "fail", problem or str(error), remedy.removesuffix(")"))
        return
    kind = json.loads((found.path / "config.json").read_text(encoding="utf-8"))["model_type"]
    yield Finding("model", "ok", f"{found.name}, of type {kind}, in {found.path}")
    if loaded.differences:
        said = "read as transformers reads it; mlx-lm alone would read it otherwise:"
        command = shell_command("python", "-m", "finetune", "doctor", "--model", name, "--mlx-lm-copy", "FOLDER")
        remedy = "" if copy else f"a copy for mlx_lm.generate, fuse and server: {command}"
        yield Finding("config.json", "warn" if remedy else "ok", said, remedy, more=loaded.differences)
    else:
        yield Finding("config.json", "ok", "mlx-lm reads it as transformers does")
    for note in loaded.notes:
        yield Finding("config.json", "warn", note, "use --backend torch if that matters")
    for clause in loaded.theirs:
        yield Finding("config.json", "warn", clause, "use --backend mlx")
    for clause in loaded.mended:
        yield Finding("mlx-lm", "warn", clause, "answer with this project, or with Transformers after an export")
    if copy:
        write_copy(found, copy, loaded.lifted)
        yield Finding("copy", "ok", f"{copy}: links to the files, and a config.json that mlx-lm reads in the same way")
    yield _of_logits(compare(found.path), loaded.theirs)


def _of_logits(found: Agreement, theirs: Sequence[str]) -> Finding:
    """``theirs``: what transformers computes otherwise than config.json says, so that other logits are no fault of MLX."""
    details = {"difference": found.difference, "verdict": found.verdict}
    if found.verdict == "different" and theirs:
        return Finding("logits", "warn", found.said, "use --backend mlx, which computes what config.json says", details)
    if found.verdict == "different":
        remedy = "train and evaluate with --backend torch, or use another model"
        return Finding("logits", "fail", found.said, remedy, details)
    said, missing, _ = found.said.partition(f" ({_INSTALL})")
    if missing:
        return Finding("logits", "warn", said, _INSTALL, details)
    return Finding("logits", "ok", found.said, details=details)


def write_copy(model: ModelFolder, folder: Path, lifted: Mapping[str, Mapping[str, object]]) -> None:
    """A new folder for mlx-lm: links to the model's files, and config.json with the ``lifted`` values, by the name of the part
    of it that they belong to ("" for the whole). UserError if the folder exists, (exit 4) if it cannot be written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--mlx-lm-copy: {folder} already exists (use a new or an empty folder)")
    config = json.loads((model.path / "config.json").read_text(encoding="utf-8"))
    for part, values in lifted.items():
        (config[part] if part else config).update(values)
    files.make_folder(folder)
    try:
        for path in model.path.iterdir():
            if path.name != "config.json":
                (folder / path.name).symlink_to(path.resolve())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}", exit_code=4) from None
    files.write_json(folder / "config.json", config)
