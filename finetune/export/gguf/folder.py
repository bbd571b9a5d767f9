"""--to gguf: files for llama.cpp, a Modelfile for Ollama and export.json; what llama.cpp computes otherwise is not kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.backends.llamacpp import server
from finetune.errors import UserError, shell_command, shortened
from finetune.export import draft
from finetune.export.fused import Unmatched, fused_model
from finetune.export.gguf import check, file, modelfile
from finetune.export.gguf.check import Measured
from finetune.export.gguf.keys import Described, Value, described
from finetune.export.gguf.tensors import Laid, kinds_of, laid_out
from finetune.export.gguf.trial import Trial, trial_of
from finetune.export.gguf.vocabulary import Vocabulary, vocabulary
from finetune.export.source import Source
from finetune.records import files
from finetune.records.export import Consumer, ExportedFile, ExportRecord
from finetune.terminal import format_bytes

_EXACT = ("f32", "f16")  # types of which one is compared with the adapters in MLX
_EMBEDDINGS = "embed_tokens.weight"
_LONGEST_NAME = 80


@dataclass(frozen=True)
class _Content:
    """What every file of the export holds."""

    about: Described
    vocabulary: Vocabulary
    keys: dict[str, Value]
    tensors: list[Laid]
    dequantised: int


def export_gguf(
    source: Source, output: Path, types: Sequence[str], name: str | None, *, tried: bool, say: Callable[[str], None]
) -> ExportRecord:
    """Write a file of each of the ``types`` to the new or empty folder ``output``, and try them unless ``tried`` is False.

    UserError (exit 2) for what GGUF cannot say, (exit 3) for a file that computes something else, (exit 4) if it cannot be
    written; nothing is left then.
    """
    consumer = server.demand() if tried else ""
    stem = _stem(source, name)
    content = _content(source, stem)
    proof = next((one for one in types if one in _EXACT), "f16")
    written = list(dict.fromkeys([proof, *types])) if tried else list(types)
    with draft.draft(output) as folder:
        draft.demand_room(folder, output, sum(file.size(content.tensors, one, content.keys) for one in written))
        trial = trial_of(source, numbers=tried)
        found, measured = [], {}
        for type_ in written:
            say(f"Writing {_file(stem, type_)} ...")
            path = folder / _file(stem, type_)
            file.write(path, content.about.name, content.keys, content.tensors, type_)
            if tried:
                say(f"Trying {path.name} in llama.cpp ...")
                measured[type_] = check.prove(path, source, trial) if type_ == proof else check.measure(path, trial)
            if type_ in types:
                found.append(_described(path, type_, content, trial, measured, proof))
            else:
                path.unlink()
        record = _record(source, content, found, trial, consumer)
        _write_modelfile(folder, record, source, trial, say)
        record.write(folder / files.EXPORT_RECORD)
    return record


def _content(source: Source, name: str) -> _Content:
    try:
        fused = fused_model(source.model, source.trained)
    except Unmatched as why:
        raise UserError(f"{source.folder}: --to gguf: its adapters cannot be added to the weights: {why}") from None
    rows = next((one.shape[0] for one in fused.tensors if one.name.endswith(_EMBEDDINGS)), None)
    if rows is None:
        raise UserError(f"{source.model}: --to gguf: it has no {_EMBEDDINGS}")
    about = described(source.model, rows)
    tensors = laid_out(fused.tensors, about)
    words = vocabulary(source, rows)
    keys: dict[str, Value] = {"general.name": name, **about.keys, **words.keys}
    return _Content(about, words, keys, tensors, fused.dequantised)


def _stem(source: Source, name: str | None) -> str:
    """The name of the files. UserError if it cannot be one."""
    if name is None:
        last = Path(source.name).name.removesuffix(".gguf") or "model"
        last = "SmolLM2-135M-Instruct" if last == "builtin" else last
        name = f"{last}-{source.run.task.name if source.run else 'tuned'}"
        name = "".join(one if one.isalnum() or one in "._-" else "-" for one in name)[:_LONGEST_NAME]
    if name != Path(name).name or name.startswith(".") or not name.isprintable() or len(name.encode()) > 200:
        raise UserError(f"--name: {shortened(repr(name))} cannot be the name of a file (use letters, digits, - and _)")
    return name


def _file(stem: str, type_: str) -> str:
    return f"{stem}-{type_.upper()}.gguf"


def _described(
    path: Path, type_: str, content: _Content, trial: Trial, measured: dict[str, Measured], proof: str
) -> ExportedFile:
    kinds = kinds_of(content.tensors, type_)
    one = ExportedFile(path.name, path.stat().st_size, files.file_hash(path), type_, kinds)
    if type_ not in measured:
        return one
    found = measured[type_]
    return replace(
        one,
        kl=found.kl,
        kl_to_f16=check.between(measured[proof], found),
        kept=check.kept(found, trial),
        same_next=found.same_next,
    )


def _record(
    source: Source, content: _Content, found: Sequence[ExportedFile], trial: Trial, consumer: str
) -> ExportRecord:
    made = None
    if consumer:
        made = Consumer(
            name=consumer,
            texts=len(trial.texts),
            prompts=len(trial.conversations),
            positions=len(trial.places),
            effect=trial.effect,
            ends=int(source.encoder.end.token is not None),
        )
    return replace(
        source.record("gguf", found, content.dequantised),
        consumer=made,
        pre=content.vocabulary.pre,
        context=modelfile.context_of(source, trial, content.about.context),
    )


def recommended(record: ExportRecord) -> ExportedFile:
    """The first file that keeps what the adapters changed; if none does, the one that keeps most."""
    good = [one for one in record.files if one.kept is None or one.kept >= check.KEPT]
    return good[0] if good else max(record.files, key=lambda one: one.kept or 0.0)


def _write_modelfile(
    folder: Path, record: ExportRecord, source: Source, trial: Trial, say: Callable[[str], None]
) -> None:
    template, note = modelfile.go_template(source, trial)
    if template is None:
        say(
            f"Note: the Modelfile has no TEMPLATE, because {note}: Ollama takes the template in the file, or one like it."
        )
    elif note:
        say(f"Note: {note}.")
    text = modelfile.modelfile(source, recommended(record).name, template, record.context or 0)
    if record.consumer is None:
        text = f"# Not verified (--check none): nothing has run this file.\n{text}"
    files.write_text(folder / files.MODELFILE, text)


def shown(record: ExportRecord, output: Path) -> list[str]:
    """Lines about it for a person."""
    lines = [f"Fused    {record.adapters}, in float32; the chat template of the training"]
    tried = record.consumer
    if tried:
        rule = f" (pre: {record.pre})" if record.pre else ""
        lines.append(f"Tokens   {tried.texts} texts and {tried.prompts} prompts: as in training{rule}")
        exact = min((one.kl for one in record.files if one.kl is not None), default=0.0)
        effect = f"the adapters change {tried.effect:.2g}" if tried.effect else "the adapters change nothing"
        lines.append(f"Numbers  llama.cpp ({tried.name}) against MLX: KL from {exact:.1e} on; {effect}")
    else:
        lines.append("NOT VERIFIED (--check none): nothing has run these files; llama.cpp may compute something else")
    lines += ["", *_table(record)]
    weak = [one.name for one in record.files if one.kept is not None and one.kept < check.KEPT]
    if weak:
        lines.append(f"Warning: {', '.join(weak)} lost more than a tenth of what was learned (use a larger type).")
    best = recommended(record)
    lines += [
        "",
        f"Use it: {shell_command('llama-server', '-m', output / best.name)}",
        f"Or: {shell_command('ollama', 'create', Path(best.name).stem.lower(), '-f', output / files.MODELFILE)}",
    ]
    return lines


def _table(record: ExportRecord) -> list[str]:
    width = max(len(one.name) for one in record.files)
    tried = record.consumer is not None
    head = f"{'':{width}}  {'size':>8}" + (f"  {'KL to MLX':>9}  {'kept':>6}  same next token" if tried else "")
    lines = [head.rstrip()]
    for one in record.files:
        line = f"{one.name:{width}}  {format_bytes(one.size):>8}"
        if tried and one.kl is not None and record.consumer:
            share = "-" if one.kept is None else f"{100 * one.kept:.1f} %"
            line += f"  {one.kl:9.1e}  {share:>6}  {one.same_next} of {record.consumer.positions}"
        lines.append(line)
    return lines
