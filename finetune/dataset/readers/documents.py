"""Files of text: each is a row for --type text; for other types they hold no rows."""

from collections.abc import Iterator

from finetune.dataset.readers.parts import Part
from finetune.dataset.readers.sourced import LONGEST, SourcedRow, Wanted
from finetune.errors import UserError, shell_command


def read(part: Part, wanted: Wanted) -> Iterator[SourcedRow]:
    """The whole text as ``{"text": ...}``, its line ends as they are."""
    with part.open() as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise UserError(
            f"{part.place}: a text of more than {LONGEST >> 20} MB (divide it into several files{_how(part)})"
        )
    split = part.split
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{part.place}:{line}: not UTF-8 text (save the file as UTF-8)") from None
    if "\0" in text:
        raise UserError(f"{part.place}: not a text: it has NUL characters (name the files with text)")
    yield SourcedRow(part.place, {"text": text}, split=split)


def _how(part: Part) -> str:
    if part.packing or part.member:
        return ""
    suffix = f"--additional-suffix={part.suffix}"
    return f", for example: {shell_command('split', '-C', '50m', suffix, part.path, f'{part.path.stem}_')}"
