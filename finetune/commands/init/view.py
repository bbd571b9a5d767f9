"""What init tells: what the files seem to be and why, which fields play which part, how many rows, and what a run takes."""

import shutil
import textwrap
from collections.abc import Iterator

from finetune.commands.init.proposal import Proposal
from finetune.dataset.looking import Look
from finetune.errors import shortened
from finetune.models.conversation import Conversation
from finetune.models.find import DEFAULT_MODEL
from finetune.records.files import SPLITS
from finetune.terminal import counted, format_bytes, format_seconds, show

_TITLE = 9
_VERBS = {"train": "to train on", "valid": "to validate", "test": "to test"}
_LABELS = 12
_REASONS = 4


def told(proposal: Proposal, seen: Look) -> None:
    """Print what was found and what is proposed."""
    width = max(40, min(110, shutil.get_terminal_size((100, 24)).columns))
    for title, lines in (
        ("Type", [_type(proposal)]),
        ("Fields", [*_fields(proposal, seen)]),
        ("Rows", [*_rows(proposal)]),
        ("Labels", [*_labels(proposal)]),
        ("Example", [*_example(proposal)]),
        ("Training", [*_training(proposal)]),
    ):
        for number, line in enumerate(lines):
            first = f"{title if number == 0 else '':<{_TITLE}}"
            below = " " * (_TITLE + 2)
            show(
                *textwrap.wrap(line, width, initial_indent=first, subsequent_indent=below, break_on_hyphens=False)
                or [first]
            )


def _type(proposal: Proposal) -> str:
    guess = proposal.guess
    kind = guess.kind if guess.kind == guess.type_ else f"{guess.kind} (--type {guess.type_})"
    return f"{kind}: {guess.why}"


def _fields(proposal: Proposal, seen: Look) -> Iterator[str]:
    for part, name in proposal.guess.parts.items():
        yield f"{shortened(name)}" + (f" is the {part}" if part != name else "")
    if fields := proposal.guess.flags.get("fields"):
        yield f"{fields}: the object"
    if unused := proposal.record.unused:
        yield f"not used: {', '.join(map(shortened, unused))}"


def _rows(proposal: Proposal) -> Iterator[str]:
    record = proposal.record
    what = "piece" if record.pieces else "row"
    parts = ", ".join(f"{record.rows[split]:,} {_VERBS[split]}" for split in SPLITS)
    yield f"{counted(record.rows_read, what)} read, {record.kept} kept: {parts}"
    dropped = proposal.dataset.findings.dropped
    for reason, count in dropped.most_common(_REASONS):
        places = ", ".join(record.first_places.get(reason, ())[:2])
        yield f"{count} dropped: {reason}" + (f" ({places})" if places else "")
    if len(dropped) > _REASONS:
        yield f"{sum(dropped.values()) - sum(count for _, count in dropped.most_common(_REASONS))} dropped for other reasons"
    errors = proposal.dataset.findings.errors
    for reason, count in errors.groups.most_common(3):
        yield f"{count} not usable: {reason} ({errors.first[reason]})"
    yield from proposal.dataset.notes


def _labels(proposal: Proposal) -> Iterator[str]:
    labels = getattr(proposal.record, "labels", None)
    if labels:
        totals = {label: sum(of.values()) for label, of in labels.rows.items()}
        ordered = sorted(totals, key=lambda label: -totals[label])
        more = f", and {len(ordered) - _LABELS} more" if len(ordered) > _LABELS else ""
        yield f"{len(ordered)}: " + ", ".join(f"{shortened(one, 30)} {totals[one]}" for one in ordered[:_LABELS]) + more


def _example(proposal: Proposal) -> Iterator[str]:
    """A row as it is learned."""
    rows = proposal.dataset.splits["train"]
    if proposal.record.pieces:
        yield shortened(rows[0]["text"], 100)
        return
    conversation = Conversation.of(rows[0])
    yield f"{shortened(conversation.question, 100)}  ->  {shortened(conversation.reference, 100)}"


def _training(proposal: Proposal) -> Iterator[str]:
    plan = proposal.plan
    if plan is None:
        why = f"not estimated: {proposal.not_planned}" if proposal.not_planned else "not estimated"
        yield f"{proposal.model.name or DEFAULT_MODEL}; memory and time {why}"
        return
    work, memory = plan.work, plan.memory
    yield (
        f"{plan.model}: {work.steps:,} steps = {work.epochs:.1f} epochs, about"
        f" {format_seconds(float(f'{plan.seconds:.2g}'))} on this machine"
    )
    verdict = "it fits" if plan.fits else "it does NOT fit"
    free = f", {format_bytes(plan.available_mb * 1e6)} of {format_bytes(plan.total_mb * 1e6)} are free: {verdict}"
    yield f"{format_bytes(plan.needed_mb * 1e6)} of memory at most{free}"
    if not plan.fits and plan.remedy:
        yield f"with {plan.remedy.change}, as proposed, {format_bytes(plan.remedy.needed_mb * 1e6)}"
    elif not plan.fits:
        yield "choose a smaller model (--model), or close other programs"
    if work.left_out:
        yield f"{work.left_out} rows of more than {plan.config.max_seq_length} tokens are skipped (max_seq_length)"
    if memory.layers_mb:
        of = f"{memory.measured_layers[-1]} of its {memory.layers} layers"
        yield f"computed from a step on {of}, just now, without its weights (train.py --dry-run says more)"
