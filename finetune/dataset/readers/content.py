"""What a file is by its first bytes, whatever its name says; and what to do with files that hold no rows that can be read."""

import codecs
import re
from pathlib import Path

from finetune.dataset.readers.parts import Part, members
from finetune.errors import UserError, shell_command

_SHEET = "save its sheet as CSV in UTF-8: in Excel 'CSV UTF-8 (Comma delimited)', in LibreOffice 'Text CSV'"
_NAME_ROWS = "name the files with rows"
_UNPACK = "unpack it, and name the folder"
# first bytes -> what it is, and what to do
_REFUSED: dict[bytes, tuple[str, str]] = {
    b"%PDF": ("a PDF document", "write what is to be learned as rows, or as text for --type text"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook, or another old Office file", _SHEET),
    b"SQLite format 3\0": ("an SQLite database", "export the table: sqlite3 -csv -header FILE 'SELECT ...' > rows.csv"),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull"),
    b"FEA1": ("Feather of version 1", "write it with pandas: to_parquet"),
    b"\x89HDF": ("an HDF5 file", "write it with pandas: to_parquet"),
    b"\x93NUMPY": ("an array of NumPy", "write rows, for example with pandas: to_parquet"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    b"Rar!\x1a": ("a RAR archive", _UNPACK),
    b"ORC": ("an ORC file", "write it as Parquet"),
    b"Obj\x01": ("an Avro file", "write it as Parquet"),
    b"\x89PNG": ("a picture", _NAME_ROWS),
    b"\xff\xd8\xff": ("a picture", _NAME_ROWS),
    b"GIF87a": ("a picture", _NAME_ROWS),
    b"GIF89a": ("a picture", _NAME_ROWS),
    b"II*\0": ("a picture", _NAME_ROWS),
    b"MM\0*": ("a picture", _NAME_ROWS),
    b"ID3": ("a sound", _NAME_ROWS),
    b"\xff\xfb": ("a sound", _NAME_ROWS),
    b"OggS": ("a sound", _NAME_ROWS),
    b"fLaC": ("a sound", _NAME_ROWS),
    b"\x1aE\xdf\xa3": ("a film", _NAME_ROWS),
    b"\x7fELF": ("a program", _NAME_ROWS),
    b"GGUF": ("a model", _NAME_ROWS),
}
# what begins with a size or the name of a container, and at which byte its kind stands
_CONTAINED = {
    (8, b"WEBP"): "a picture",
    (8, b"WAVE"): "a sound",
    (8, b"AVI "): "a film",
    (4, b"ftypheic"): "a picture",
    (4, b"ftypavif"): "a picture",
    (4, b"ftypM4A"): "a sound",
    (4, b"ftyp"): "a film",
}
_PAGES = (b"<!doctype html", b"<html")
_PAGE = "download the file itself: on the Hub, the address with /resolve/ in place of /blob/"
_UTF8 = "save the file as UTF-8"


def kind_of(part: Part) -> str:
    """The suffix that the content of a part asks for: .parquet, .arrow, .zip; "" if it is text.

    UserError if no reader can read it, with what it is and what to do.
    """
    begin = part.begin
    place = part.place
    if begin.startswith(b"PAR1"):
        return ".parquet"
    if begin.startswith((b"ARROW1\0\0", b"\xff\xff\xff\xff")) and not begin.startswith(b"\xff\xff\xff\xff\xff"):
        return ".arrow"
    if begin.startswith((b"PK\3\4", b"PK\5\6")) and not part.member and not part.packing:
        _refuse_office(part.path)
        return ".zip"
    for magic, (what, remedy) in _REFUSED.items():
        if begin.startswith(magic) and not (magic.isalnum() and _is_text(begin)):  # "ORCID" begins a table, too
            raise UserError(f"{place}: {what} ({remedy.replace('FILE', shell_command(part.path))})")
    for (at, kind), what in _CONTAINED.items():
        if begin[at:].startswith(kind) and not _is_text(begin):
            raise UserError(f"{place}: {what} ({_NAME_ROWS})")
    if begin[257:262] == b"ustar":
        raise UserError(
            f"{place}: a tar archive (unpack it: {shell_command('tar', 'xf', part.path)}, and name the folder)"
        )
    if begin.removeprefix(codecs.BOM_UTF8).lstrip()[:20].lower().startswith(_PAGES):
        raise UserError(f"{place}: a page of HTML, not rows ({_PAGE})")
    if begin and not begin.strip(b"\0"):
        raise UserError(f"{place}: begins with NUL bytes, as after a copy that failed (copy or download it again)")
    if encoding := _wide(begin):
        command = shell_command("iconv", "-f", encoding, "-t", "UTF-8", part.path)
        raise UserError(f"{place}: {encoding} text ({_UTF8}, for example: {command} > rows{part.suffix or '.jsonl'})")
    return ""


def _is_text(begin: bytes) -> bool:
    return not re.search(rb"[\x00-\x08\x0e-\x1f]", begin)


def _wide(begin: bytes) -> str:
    """UTF-32 or UTF-16, if the text is in it."""
    if begin.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    for first, encoding in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        zeros, others = begin[first::2].count(0), begin[1 - first :: 2].count(0)
        if len(begin) >= 16 and zeros > 0.4 * len(begin) / 2 and others == 0:
            return encoding
    return ""


def _refuse_office(path: Path) -> None:
    names = members(path)
    if any(name.startswith("xl/") for name in names):
        raise UserError(f"{path}: an Excel workbook ({_SHEET})")
    if "content.xml" in names and "mimetype" in names:
        raise UserError(f"{path}: a spreadsheet or document of LibreOffice ({_SHEET})")
    if "[Content_Types].xml" in names:
        raise UserError(f"{path}: an Office document (write what is to be learned as rows, or as text for --type text)")
