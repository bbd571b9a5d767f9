"""The builtin RISC-V rows: every instruction of the tables, described in each of its phrases.

Frozen: the same seed gives the same bytes in every version, so that runs of different versions can be compared. Add no
instructions and change no phrase. A row is abstract (``add rd, rs1, rs2``) and occurs in each phrase of its instruction, or
it names registers, constants and labels and occurs once, in one phrase.
"""

import random
import re
from collections.abc import Callable
from functools import cache

from finetune.records.files import Row
from finetune.tasks.riscv.rows import floating, integer, pseudo, system

GROUPS = (*integer.GROUPS, *system.GROUPS, *floating.GROUPS, *pseudo.GROUPS)
MNEMONICS = frozenset(pattern.split(" ")[0] for group in GROUPS for pattern in group.words)
BARE_MNEMONICS = frozenset(pattern for group in GROUPS for pattern in group.words if " " not in pattern)

_CONCRETE = 60  # answers with given operands that are drawn for each instruction

INTEGER_REGISTERS = tuple(
    "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6".split()
)
FLOAT_REGISTERS = tuple(
    "ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 "
    "fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 fs10 fs11 ft8 ft9 ft10 ft11".split()
)

_LABELS = (
    "loop done exit next skip start reload retry error cleanup outer inner body finish fallback overflow found missing "
    "empty ready idle check repeat resume stop else_part top bottom then_part first last scan copy search sorted odd even"
).split()
_FUNCTIONS = (
    "memcpy memset strlen strcmp printf puts malloc free abort main init update draw parse encode decode hash sort "
    "read_line write_block send_packet get_time set_pixel open_file print_number fill_buffer swap_rows checksum "
    "matrix_multiply find_node insert_key remove_key push_item pop_item factorial gcd is_prime square_root"
).split()
_SYMBOLS = (
    "buffer message table counter stack_top heap_start config matrix vector queue list_head root total limit scale "
    "weights pixels digits alphabet greeting newline seed state flags events prices samples results names offsets "
    "lookup cursor palette board score grid cache history journal"
).split()
_CSRS = (
    "mstatus mtvec mepc mcause mscratch mie mip mtval medeleg mideleg mcounteren "
    "sstatus stvec sepc scause sscratch sie sip stval satp scounteren fcsr frm fflags"
).split()
_ACCESSES = "r w rw i o io iorw".split()


def _constant(rng: random.Random) -> str:
    return str(rng.randrange(-2048, 2048) if rng.random() < 0.5 else rng.randrange(-(2**31), 2**31))


_DRAW: dict[str, Callable[[random.Random], str]] = {
    "imm": lambda rng: str(rng.choice((-1, 1)) * rng.randrange(1, 2048)),  # 0 would make an addi a mv
    "imm20": lambda rng: hex(rng.randrange(1, 2**20)),
    "uimm": lambda rng: str(rng.randrange(1, 32)),
    "shamt": lambda rng: str(rng.randrange(1, 32)),
    "offset": lambda rng: str(rng.randrange(-2048, 2048, 8)),
    "constant": _constant,
    "label": lambda rng: rng.choice(_LABELS),
    "function": lambda rng: rng.choice(_FUNCTIONS),
    "symbol": lambda rng: rng.choice(_SYMBOLS),
    "csr": lambda rng: rng.choice(_CSRS),
    "pred": lambda rng: rng.choice(_ACCESSES),
    "succ": lambda rng: rng.choice(_ACCESSES),
}
# in an abstract row; the other operands are called there as they are here
_ABSTRACT = {"imm20": "imm", "constant": "imm", "offset": "imm", "function": "symbol"}


def _concrete(names: list[str], rng: random.Random) -> dict[str, str]:
    """Operands that fit the names; no register occurs twice, and all are numbered (x10) or all are named (a0)."""
    numbered = rng.random() < 0.25
    integers = rng.sample(range(5, 32), len(names))  # below lie zero to tp: jr ra is another instruction, ret
    floats = rng.sample(range(32), len(names))
    operands = {}
    for name, integer_number, float_number in zip(names, integers, floats, strict=True):
        if name.startswith("fr"):
            operands[name] = f"f{float_number}" if numbered else FLOAT_REGISTERS[float_number]
        elif name.startswith("r"):
            operands[name] = f"x{integer_number}" if numbered else INTEGER_REGISTERS[integer_number]
        else:
            operands[name] = _DRAW[name](rng)
    return operands


def _row(phrase: str, pattern: str, operands: dict[str, str], extension: str) -> Row:
    description = phrase.format(**operands)
    return {
        "description": description[0].upper() + description[1:],
        "instructions": pattern.format(**operands),
        "extension": extension,
    }


@cache
def all_rows() -> tuple[Row, ...]:
    """Every row there is, always in the same order."""
    rows: list[Row] = []
    for group in GROUPS:
        for pattern in group.words:
            names = re.findall(r"{(\w+)}", pattern)
            phrases = group.phrases(pattern)
            abstract = {name: _ABSTRACT.get(name, name) for name in names}
            rows += [_row(phrase, pattern, abstract, group.extension) for phrase in phrases]
            if names:
                rng = random.Random(pattern)
                draws = [_concrete(names, rng) for _ in range(_CONCRETE)]
                distinct = {pattern.format(**operands): operands for operands in draws}
                for number, operands in enumerate(distinct.values()):
                    rows.append(_row(phrases[number % len(phrases)], pattern, operands, group.extension))
    return tuple(rows)
