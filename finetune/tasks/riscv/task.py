"""RISC-V: a description of an instruction, answered by its assembly, scored by comparing instructions.

Fields are those of ``davidpirkl/riscv-instruction-specification``: ``description`` and ``instructions``. Answers that
assemble to the same machine code are the same: case, spaces, comments, x10 for a0, 0x10 for 16 and a pseudo-instruction for
its expansion make no difference; the order of the operands does, even in a sum.
"""

import random
import re
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import islice

from finetune.models.conversation import Message
from finetune.models.thinking import answer_of
from finetune.records.files import Row
from finetune.tasks.base import Score, Task
from finetune.tasks.riscv import assembler
from finetune.tasks.riscv.rows import BARE_MNEMONICS, FLOAT_REGISTERS, INTEGER_REGISTERS, MNEMONICS, all_rows
from finetune.tasks.riscv.rows.pseudo import SAME_AS


def to_messages(row: Row) -> list[Message]:
    return [
        {"role": "user", "content": f"Write the RISC-V assembly instruction for: {row['description'].strip()}"},
        {"role": "assistant", "content": row["instructions"].strip()},
    ]


def builtin(counts: Mapping[str, int], seed: int) -> dict[str, list[Row]]:
    """Generated rows for each split. ValueError if there are not as many."""
    rows = [dict(row) for row in all_rows()]
    wanted = sum(counts.values())
    if wanted > len(rows):
        raise ValueError(f"only {len(rows)} builtin riscv rows exist, not {wanted}")
    random.Random(f"riscv {seed}").shuffle(rows)
    rest = iter(rows)
    return {split: list(islice(rest, counts[split])) for split in ("test", "valid", "train")}


_REGISTERS = {
    "fp": "s0",
    **{f"x{number}": name for number, name in enumerate(INTEGER_REGISTERS)},
    **{f"f{number}": name for number, name in enumerate(FLOAT_REGISTERS)},
}
_REGISTER = re.compile(r"\b(?:fp|[xf][0-9]{1,2})\b")
_NUMBER = re.compile(r"(?<![\w.])-?(?:0x[0-9a-f]{1,16}|[0-9]{1,19})(?![\w.])")
_BULLET = re.compile(r"^(?:[-*>$] |[0-9]{1,3}[.)] )")
_SPACE_AROUND = re.compile(r" ?([,()+]) ?")


def _decimal(number: re.Match[str]) -> str:
    text = number[0]
    return str(int(text, 16 if "0x" in text else 10))


def _normal(line: str) -> str:
    """A line in lower case without comment, label and needless spaces, with decimal numbers and ABI names of registers."""
    line = " ".join(re.split("#|//", line.lower(), maxsplit=1)[0].split())
    line = _BULLET.sub("", line.rpartition(": ")[2]).strip(' *"').rstrip(".")
    line = _SPACE_AROUND.sub(r"\1", line)
    line = _NUMBER.sub(_decimal, line)
    return _REGISTER.sub(lambda name: _REGISTERS.get(name[0], name[0]), line)


def _parts(line: str) -> tuple[str, list[str]]:
    """The mnemonic of a normal line, and its operands."""
    mnemonic, _, operands = line.partition(" ")
    return mnemonic, operands.split(",") if operands else []


def _mnemonics(lines: list[str]) -> list[str]:
    return [line.partition(" ")[0] for line in lines]


def _meanings() -> dict[tuple[str, int], tuple[list[str], str]]:
    """By mnemonic and number of operands of a pseudo-instruction: the names of the operands, and what it stands for."""
    meanings = {}
    for pattern, meaning in SAME_AS.items():
        mnemonic, operands = _parts(_normal(pattern))
        meanings[mnemonic, len(operands)] = ([operand.strip("{}") for operand in operands], _normal(meaning))
    return meanings


_MEANINGS = _meanings()
_BITS_12 = re.compile(r"-?[0-9]{1,4}")


def _canonical(line: str) -> str:
    """A normal line, a pseudo-instruction replaced by what it stands for."""
    mnemonic, operands = _parts(line)
    if (mnemonic, len(operands)) in _MEANINGS:
        names, meaning = _MEANINGS[mnemonic, len(operands)]
        large = mnemonic == "li" and not (_BITS_12.fullmatch(operands[1]) and -2048 <= int(operands[1]) < 2048)
        if not large:
            line = meaning.format(**dict(zip(names, operands, strict=True)))
    return line.replace(",0(", ",(")


def _lines(text: str) -> list[str]:
    """The lines of a text in the form in which they are compared; code between backticks counts as a line."""
    lines = (_canonical(_normal(line)) for line in re.split("[\n;`]", text))
    return [line for line in lines if line]


_DAMAGED = re.compile(r"([a-z.]+?) ?(r[sd][0-9]?(?:,\S+)?)(?: [0-9]+)?")


def _repaired(line: str) -> str:
    """The line without the damage of the Hub's rows, which come from a PDF: a missing space, a page number at the end."""
    damaged = _DAMAGED.fullmatch(line)
    return _canonical(f"{damaged[1]} {damaged[2]}") if damaged and damaged[1] in MNEMONICS else line


def score(row: Row, answer: str) -> Score:
    """1 if the answer begins with the instructions of the row, or of any row with the same description, else 0."""
    accepted = row.get("accepted") or [row["instructions"]]
    answer = answer_of(answer)
    targets = [lines for lines in map(_lines, accepted) if lines]
    targets += [[_repaired(line) for line in target] for target in targets]
    expected = f"expected: {accepted[0].strip()[:100]}"
    if not targets:
        return Score(None, "no_reference", "the row has no instruction to compare with")
    if not answer.strip():
        return Score(0.0, "empty", expected, {"mnemonic": 0.0, "operands": 0.0})
    # the Hub's rows do not always ask for assembly; a bare "add" is not code: it only mentions the instruction
    whole = BARE_MNEMONICS.union(*targets)
    known = MNEMONICS.union(*map(_mnemonics, targets))
    lines = _lines(answer)
    code = [line for line in lines if line in whole or (line.count(" ") == 1 and line.partition(" ")[0] in known)]
    parts = max((_likeness(target, code[: len(target)]) for target in targets), key=lambda found: sum(found.values()))
    if (share := assembler.share_that_assembles(targets[0], code)) is not None:
        parts["assembles"] = share
    if any(target == code[: len(target)] for target in targets):
        return Score(1.0, "ok", "", parts)
    if not code:
        return Score(0.0, "not_an_instruction", expected, parts)
    return Score(0.0, "wrong_operands" if parts["mnemonic"] == 1 else "wrong_mnemonic", expected, parts)


def _likeness(target: list[str], code: list[str]) -> dict[str, float]:
    """The shares of the target's mnemonics and operands that the code has in the same places, 0 to 1."""
    mnemonics = operands = wanted = 0
    for at, (mnemonic, expected) in enumerate(map(_parts, target)):
        name, said = _parts(code[at]) if at < len(code) else ("", [])
        mnemonics += name == mnemonic
        operands += sum(a == b for a, b in zip(expected, said, strict=False))
        wanted += max(len(expected), len(said))
    return {"mnemonic": mnemonics / len(target), "operands": operands / wanted if wanted else 1.0}


RISCV = Task(
    name="riscv",
    about="a description of a RISC-V instruction, answered by its assembly",
    hub_dataset="davidpirkl/riscv-instruction-specification",
    required=("description", "instructions"),
    aliases={
        "description": ("prompt", "input", "text"),
        "instructions": ("instruction", "assembly", "output", "completion"),
    },
    to_messages=to_messages,
    builtin=builtin,
    split_rule="no description is in two splits, nor an answer with given operands",
    several_answers=True,
    open_scorer=lambda stop: nullcontext(score),
    metric="accuracy",
    measure="the right instructions",
    kind_words={
        "empty": "no text",
        "not_an_instruction": "no instruction",
        "wrong_mnemonic": "another instruction",
        "wrong_operands": "the right instruction with other operands",
        "no_reference": "no instruction in the row to compare with",
    },
    malformed=frozenset({"empty", "not_an_instruction"}),
    question=lambda row: row["description"],
)
