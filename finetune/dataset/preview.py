"""What dataset.py prints: the kinds of task, what became of the rows, and rows as the model will see them."""

import shutil
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby, islice
from typing import TYPE_CHECKING

from finetune.dataset.prepare import Dataset
from finetune.errors import one_line, shortened, visible
from finetune.models.conversation import Conversation
from finetune.models.encoder import ChatEncoder
from finetune.models.examples import rewritten, turns_of
from finetune.models.find import find_model
from finetune.models.loss_mask import Example
from finetune.models.templates import find_template
from finetune.records import files
from finetune.records.dataset import DatasetRecord, Labels, PartOfRows
from finetune.records.files import Row
from finetune.settings.config import DatasetConfig
from finetune.tasks.base import RowKind
from finetune.tasks.text import TEXT
from finetune.terminal import counted, results, show

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_LABEL, _MOST_LABELS = 40, 50  # characters of a label, and labels
_BINS = 12  # of the histogram
_LISTED = 20  # fields that are not used
_MOST_FIELDS = 60  # that are to be extracted
_BAR, _BEFORE_BAR = 40, 24  # columns
_NAME, _BESIDE_NAME = 60, 50  # columns
_OWN_FIELDS = {
    "preference": "prompt, chosen, rejected",
    "chat": "messages, or prompt and completion, and others",
    "classify": "a text and a label, under any names (--column text=FIELD,label=FIELD)",
    "extract": "text and json, or text and the columns of --fields",
}


def encoder(config: DatasetConfig, say: Callable[[str], None]) -> ChatEncoder | None:
    """The tokenizer of the model to train, if --model or --show asks for it."""
    if config.model is None and not config.show and config.type_ != TEXT.name:
        return None
    template = find_template(config.template)
    model = find_model(config.model, say, weights=config.type_ != TEXT.name)
    return ChatEncoder(model.path, template, name=model.name, chats=config.type_ != TEXT.name)


def print_types(tasks: Mapping[str, RowKind]) -> None:
    for name, kind in tasks.items():
        show(f"{name:<10} {kind.about}")
        sources = [f"{kind.hub_dataset} ({kind.licence or 'licence: see its page'})"] if kind.hub_dataset else []
        sources += ["builtin"] if kind.builtin else []
        show(f"{'':<10} rows: {', '.join(sources) or 'your own (--dataset-name)'}")
        fields = [*kind.required, *(f"[{field}]" for field in kind.optional)]
        show(f"{'':<10} fields: {', '.join(fields) or _OWN_FIELDS[name]}")


def print_summary(config: DatasetConfig, dataset: Dataset) -> None:
    record = dataset.record(config)
    where = f"{len(record.sources)} sources" if record.sources else dataset.source.source
    show(f"{config.type_} rows from {where}: {record.rows_read} read, {record.kept} kept")
    for line in _sources(record.sources or ()):
        show(f"  {line}")
    for note in dataset.notes:
        show(f"  {note}")
    for title, counts in (("dropped", record.dropped), ("repaired", record.mended), ("kept", record.noted)):
        for reason, count in counts.items():
            places = _short(dataset.findings.places.get(reason, []))
            show(f"  {count:>6} {title}: {reason}{f'  ({places})' if places else ''}")
    for name, count in islice(record.unused.items(), _LISTED):
        show(f"  {count:>6} not used: {name}  ({_short(dataset.findings.first_places_of(name))})")
    if (more := len(record.unused) - _LISTED) > 0:
        show(f"         and {counted(more, 'more field')} (dataset.json has the names)")
    for line in _turns(record):
        show(f"  {line}")
    if record.blank_lines:
        show(f"  {record.blank_lines:>6} blank line{'s' if record.blank_lines != 1 else ''} skipped")
    for line in _fields(record):
        show(f"  {line}")
    for split, count in record.rows.items():
        show(f"  {files.split_file(config.output_dir, split)}  {counted(count, 'row')}")
    if record.labels:
        show(*_labels(record.labels))


def _labels(labels: Labels) -> Iterator[str]:
    """The rows of each label by split, and how the model must be asked later."""
    names = [shortened(label, _LABEL) for label in labels.rows]
    width = max(5, *map(len, names))
    yield f"  {'label':<{width}}  {'train':>6} {'valid':>6} {'test':>6}"
    for name, rows in islice(zip(names, labels.rows.values(), strict=True), _MOST_LABELS):
        yield f"  {name:<{width}}  {rows['train']:>6} {rows['valid']:>6} {rows['test']:>6}"
    if (more := len(names) - _MOST_LABELS) > 0:
        yield f"  and {counted(more, 'more label')} (dataset.json has all)"
    yield "Ask the trained model in the same way: this system message (it is in dataset.json), then the text as the user."
    yield from (f"  {line}" for line in labels.prompt.split("\n")[: _MOST_LABELS + 2])


def _sources(parts: Sequence[PartOfRows]) -> Iterator[str]:
    """How many rows are of each source, as a table; the end of a long name tells more than its beginning."""
    if not parts:
        return
    room = max(20, min(_NAME, shutil.get_terminal_size().columns - _BESIDE_NAME))
    names = [part.given if len(part.given) <= room else f"...{part.given[3 - room :]}" for part in parts]
    width = max(map(len, names))
    yield f"{'':<{width}}  {'type':<10} {'read':>9} {'kept':>9} {'asked':>6} {'got':>6}"
    for part, name in zip(parts, names, strict=True):
        asked = "all" if part.share_asked is None else f"{100 * part.share_asked:.1f}%"
        counts = f"{part.rows_read:>9,} {part.kept:>9,} {asked:>6} {100 * part.share:>5.1f}%"
        yield one_line(f"{name:<{width}}  {part.type:<10} {counts}")


def _turns(record: DatasetRecord) -> Iterator[str]:
    """How many turns of the assistant are learned, if rows have several or some are not learned."""
    turns = record.turns
    if turns is None or (turns.assistant == record.kept and turns.learned == turns.assistant):
        return
    count = counted(turns.assistant, "turn")
    why = "weight 0" if record.learn == "all" else f"--learn {record.learn}"
    left = [f"{turns.context:,} only context ({why})"] if turns.context else []
    left += [rewritten(turns.rewritten)] if turns.rewritten else []
    yield f"{turns.learned:,} of {count} of the assistant learned{': ' if left else ''}{'; '.join(left)}"


def _fields(record: DatasetRecord) -> Iterator[str]:
    """The fields that are to be extracted, and the prompt that asks for them."""
    if not record.fields:
        return
    yield "fields:"
    names = [shortened(field.name, _NAME) for field in record.fields]
    width = max(map(len, names))
    for name, field in list(zip(names, record.fields, strict=True))[:_MOST_FIELDS]:
        rare = "" if field.present == field.objects else f" (in {field.present:,} of {field.objects:,})"
        yield f"  {name:<{width}}  {field.about}{rare}"
    if (more := len(record.fields) - _MOST_FIELDS) > 0:
        yield f"  and {more} more (dataset.json has them)"
    yield "system message, the one to send in production too (dataset.json has it as system):"
    yield from (f"  | {line}" for line in (record.system or "").split("\n"))


def _short(places: Sequence[str]) -> str:
    """rows.jsonl:3, :8, other.jsonl:1: a file once, then its lines alone."""
    shown, last = [], ""
    for place in places:
        file, _, line = place.rpartition(":")
        shown.append(f":{line}" if file and file == last else place)
        last = file
    return ", ".join(shown)


def print_lengths(lengths: Mapping[int, int], config: DatasetConfig) -> None:
    """A histogram of how long the rows are, in tokens. ``lengths``: how many rows have each."""
    shortest, longest = min(lengths), max(lengths)
    width = -(-(longest + 1 - shortest) // _BINS)
    counts = [0] * ((longest - shortest) // width + 1)
    for length, count in lengths.items():
        counts[(length - shortest) // width] += count
    median = _median(lengths)
    show(f"Tokens per row: median {median:.0f}, longest {longest}, limit {config.max_seq_length}")
    longest_bar = max(1, min(_BAR, shutil.get_terminal_size().columns - _BEFORE_BAR))
    for at, count in enumerate(counts):
        bar = "\u2588" * round(longest_bar * count / max(counts)) or ("\u258f" if count else "")
        begin = shortest + at * width
        show(f"  {begin:>5} to {begin + width - 1:<5} {count:>6} {bar}")


def _median(lengths: Mapping[int, int]) -> float:
    ordered = sorted(lengths)
    ends = list(accumulate(lengths[length] for length in ordered))
    lower, upper = (ordered[bisect(ends, at)] for at in ((ends[-1] - 1) // 2, ends[-1] // 2))
    return (lower + upper) / 2


def print_examples(dataset: Dataset, count: int, encoder: ChatEncoder) -> None:
    """The first rows to train on, of each source if there are several."""
    for part, rows in zip(dataset.sources or (), dataset.train_of, strict=True):
        show(f"{part.given}:")
        print_rows(rows[:count], encoder)
    if not dataset.sources:
        print_rows(dataset.splits["train"][:count], encoder)


def print_rows(rows: Sequence[Row], encoder: ChatEncoder) -> None:
    """Each row as text, learned tokens in green (« » without colours) and special tokens in reverse video."""
    console = results()
    for number, row in enumerate(rows, start=1):
        made = next(encoder.examples([Conversation.of(row)]))
        if isinstance(made, ValueError):
            raise made
        turns = turns_of(Conversation.of(row).messages, made)
        of_turns = (
            "" if turns.learned == turns.assistant else f" in {turns.learned} of {counted(turns.assistant, 'turn')}"
        )
        for at, example in enumerate(made, start=1):
            which = f"Row {number}" if len(made) == 1 else f"Row {number}, example {at} of {len(made)}"
            learned = sum(example.loss_mask)
            console.print(f"{which}: {len(example.tokens)} tokens, {learned} learned{of_turns}", style="bold")
            _print_example(example, encoder, console)


def _print_example(example: Example, encoder: ChatEncoder, console: "RichConsole") -> None:
    from rich.text import Text

    text = Text()
    marks = iter(["\u00ab", "\u00bb"] * len(example.tokens))
    kinds = [
        (learned, token in encoder.special_tokens)
        for token, learned in zip(example.tokens, example.loss_mask, strict=True)
    ]
    before = False
    for (is_learned, is_special), run in groupby(range(len(kinds)), key=lambda at: kinds[at]):
        if is_learned != before and not console.is_terminal:
            text.append(next(marks))
        before = is_learned
        style = f"{'green' if is_learned else 'bright_black'}{' reverse' if is_special else ''}"
        text.append(visible(encoder.decode_all([example.tokens[at] for at in run])), style=style)
    if before and not console.is_terminal:
        text.append(next(marks))
    console.print(text, soft_wrap=True)
    console.print()
