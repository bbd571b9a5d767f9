"""Look at your files, say what they seem to be, and write a run.yml for all four scripts.

python -m finetune init tickets.csv                 asks what it cannot know, and writes run.yml
python -m finetune init chats/ --yes                takes the proposals without asking
python -m finetune init rows.jsonl --type chat      another kind of rows than the one they look like
python -m finetune init rows.jsonl --json --yes     prints what was found as JSON

The rows themselves are read and prepared, but nothing except that file is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.commands.init import proposal as proposing
from finetune.commands.init import view
from finetune.commands.init.asking import Asker
from finetune.commands.init.proposal import Folders, Found, Proposal
from finetune.commands.init.settings_file import written
from finetune.dataset import guess as guessing
from finetune.dataset import looking, recognition
from finetune.dataset.guess import Guess
from finetune.dataset.looking import Look
from finetune.errors import UserError, shell_command, shortened
from finetune.models.find import DEFAULT_MODEL
from finetune.records import files
from finetune.settings.fields import option, switch
from finetune.tasks import ROW_KINDS
from finetune.terminal import say, show, show_json

CHOICES = {"row_kinds": ROW_KINDS}
SCRIPTS = ("dataset.py", "train.py", "test_finetuned.py", "benchmark.py")


@dataclass(frozen=True)
class Config:
    """The command line of ``python -m finetune init``."""

    files: str | tuple[str, ...] = option(
        None, "files or folders with your rows or texts", positional=True, several=True
    )
    type_: str | None = option(None, "kind of rows (default: the one they look like)", choices="row_kinds")
    model: str | None = option(None, f"model to train (default: asked, or {DEFAULT_MODEL})")
    output: Path = option(Path("run.yml"), "file to write; one that exists is not replaced")
    yes: bool = switch("ask nothing: take what is proposed")
    estimate: bool = switch("estimate memory and time of the training, which takes some seconds", default=True)
    json: bool = switch("print JSON; asks nothing")

    @property
    def names(self) -> tuple[str, ...]:
        return (self.files,) if isinstance(self.files, str) else self.files


def main(config: Config) -> None:
    """Look, ask, prepare the rows without writing them, write the file, and say what to run."""
    if config.output.exists() or config.output.is_symlink():
        raise UserError(f"{config.output}: already there, and not replaced (--output another.yml, or move it away)")
    if not config.output.absolute().parent.is_dir():
        raise UserError(f"--output {config.output}: no such folder (make it first)")
    asker = Asker(silent=config.yes or config.json)
    seen = looking.look(config.names)
    wanted = _wanted(config, seen)
    if len(wanted) > 1:
        options = [f"{guess.kind}: {guess.why}{_of(guess)}" for guess in wanted]
        chosen = wanted[asker.choice("What is to be learned?", options)]
        wanted = [chosen] if asker.asks else wanted
    name = config.model or (asker.text("Model to train", DEFAULT_MODEL) if asker.asks else None)
    name = None if name == DEFAULT_MODEL and config.model is None else name
    needs = config.estimate or any(ROW_KINDS[guess.type_].plain_text for guess in wanted)
    model = proposing.model_of(name) if needs else Found(name)
    if not config.json:
        say("Preparing the rows, without writing them ...")
    found = _of_likeliest(config, seen, wanted, model)
    found = proposing.with_training(found, estimate=config.estimate)
    files.write_text(config.output, _text(found, config))
    if config.json:
        show_json(_as_record(found, seen, config), indent=2)
        return
    view.told(found, seen)
    others = [guess for guess in wanted if not guessing.same(guess, found.guess)]
    if others:
        also = "; ".join(f"{guess.type_}{_of(guess)}" for guess in others[:4])
        show(f"Also possible: {also} (--type)")
    show("", f"{config.output} written; change what you like. Then:", *(f"  {line}" for line in _commands(config)))


def _of(guess: Guess) -> str:
    return (
        f" ({', '.join(f'{part}={shortened(name, 30)}' for part, name in guess.parts.items())})" if guess.parts else ""
    )


def _wanted(config: Config, seen: Look) -> list[Guess]:
    """The types that the rows can be, or those of them that are asked for."""
    if config.type_ is None:
        return recognition.guesses(seen, ", ".join(config.names))
    try:
        found = [guess for guess in recognition.guesses(seen, "") if guess.type_ == config.type_]
    except UserError:
        found = []
    return found or [Guess(config.type_, config.type_, "asked for by --type")]


def _of_likeliest(config: Config, seen: Look, wanted: Sequence[Guess], model: Found) -> Proposal:
    """The proposal for the first type. UserError with what dataset.py says of it, and which other types are possible: none of
    them is taken in its place, since it would learn something else."""
    guess, *others = wanted
    try:
        return proposing.of_rows(config.names, seen, guess, model, Folders.free(config.names[0]))
    except UserError as error:
        other = (
            f"; or another type: --type {', --type '.join(dict.fromkeys(one.type_ for one in others))}"
            if others
            else ""
        )
        raise UserError(
            f"{', '.join(config.names)} looks like {guess.kind} ({guess.why}), but: {error}{other}",
            error.exit_code,
            details=error.details,
        ) from None


def _text(found: Proposal, config: Config) -> str:
    head = [
        f"Settings of the four scripts, made by: {shell_command('python', '-m', 'finetune', 'init', *config.names)}",
        f"{', '.join(config.names)} looks like {found.guess.kind}: {found.guess.why}",
        "Run, in the folder from which the paths below are seen:",
        *(f"  {line}" for line in _commands(config)),
        "A flag on the command line is stronger than a value here. docs/flags.md explains all of them.",
    ]
    kind = ROW_KINDS[found.guess.type_]
    own = [] if kind.writes_system or kind.plain_text else ["system: You are ...  # for rows without a system message"]
    hints = {
        "dataset": own,
        "train": ["learning_rate: 2e-4", "lora_rank: 16", "patience: 3  # stop early", "batch_size: 4"],
        "test": ["num_samples: 200  # fewer rows, less time"],
    }
    return written(head, found.sections, hints)


def _commands(config: Config) -> list[str]:
    return [shell_command("python", script, "--config", config.output) for script in SCRIPTS]


def _as_record(found: Proposal, seen: Look, config: Config) -> Mapping[str, object]:
    record, plan = found.record, found.plan
    labels = getattr(record, "labels", None)
    return {
        "files": list(config.names),
        "kind": found.guess.kind,
        "type": found.guess.type_,
        "why": found.guess.why,
        "parts": dict(found.guess.parts),
        "rows_read": record.rows_read,
        "kept": record.kept,
        "rows": dict(record.rows),
        "dropped": dict(record.dropped),
        "labels": {label: sum(of.values()) for label, of in labels.rows.items()} if labels else None,
        "settings": {
            name: {key: line.value for key, line in section.items()} for name, section in found.sections.items()
        },
        "plan": plan
        and {
            "model": plan.model,
            "steps": plan.work.steps,
            "seconds": round(plan.seconds),
            "needed_mb": round(plan.needed_mb),
            "available_mb": round(plan.available_mb),
            "fits": plan.fits,
        },
        "output": str(config.output),
        "commands": _commands(config),
    }
