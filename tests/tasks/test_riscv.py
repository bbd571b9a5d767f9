"""The riscv task: builtin rows that are reproducible and decidable, and a scorer that compares what assembles alike."""

import re
import time
from collections import Counter

import pytest

from finetune.tasks.riscv.rows import all_rows
from finetune.tasks.riscv.task import RISCV, builtin, score, to_messages

ABSTRACT = set("rd rs rs1 rs2 rs3 frd frs frs1 frs2 frs3 imm uimm shamt label symbol csr pred succ rtz".split())
COUNTS = {"train": 400, "valid": 50, "test": 50}
ABI = dict(zip("t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7".split(), range(5, 24), strict=True))


def judged(target: str, answer: str) -> tuple[float | None, str]:
    result = score({"description": "", "instructions": target}, answer)
    return result.value, result.kind


def test_splits_are_as_large_as_asked_and_share_no_description_and_no_given_operands():
    total = len(all_rows())
    splits = builtin({"train": total - 3000, "valid": 1000, "test": 2000}, 0)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": total - 3000, "valid": 1000, "test": 2000}
    rows = [row for split in splits.values() for row in split]
    assert len({row["description"].casefold() for row in rows}) == total >= 10_000
    repeated = {answer for answer, times in Counter(row["instructions"] for row in rows).items() if times > 1}
    for answer in repeated:
        assert set(re.findall(r"\w+", answer.partition(" ")[2])) <= ABSTRACT
    with pytest.raises(ValueError, match=str(total)):
        builtin({"train": total, "valid": 1, "test": 0}, 0)


def test_description_and_answer_name_the_same_operands():
    for row in all_rows():
        words = set(re.findall(r"-?\w+", row["description"]))
        operands = set(re.findall(r"-?\w+", row["instructions"].partition(" ")[2])) - {"rtz"}
        assert operands <= words, row
        assert {word for word in words if re.fullmatch(r"[xfats][0-9]+|f[ats][0-9]+", word)} <= operands, row


@pytest.mark.slow
def test_own_answer_is_right_however_it_is_written():
    one_of_each = {row["instructions"].split()[0]: row for row in all_rows()}
    for row in one_of_each.values():
        answer = row["instructions"]
        numbered = re.sub(r"\b[ats][0-9]\b", lambda name: f"x{ABI[name[0]]}" if name[0] in ABI else name[0], answer)
        for written in (
            answer,
            answer.upper(),
            numbered,
            re.sub(r"(?<![\w])-?[0-9]+\b", lambda number: hex(int(number[0])), answer),
            answer.replace(" ", "\t", 1).replace(", ", " ,"),
            f"```asm\n{answer}  # done\n```\nThat is all.",
            f"The instruction is:\n\n    start: {answer} // as asked",
            f"You can use `{answer}` for this.",
            f"Answer: {answer}.",
            f"1. {answer}",
            f"{answer}\nret",
            f"The `add` instruction does not help; use `{answer}`.",
        ):
            assert score(row, written).value == 1.0, (row, written)


@pytest.mark.parametrize(
    ("target", "answer", "kind"),
    [
        ("add rd, rs1, rs2", "sub rd, rs1, rs2", "wrong_mnemonic"),
        ("sub a0, a1, a2", "sub a0, a2, a1\nret", "wrong_operands"),
        ("add a0, a1, a2", "add a0, a1", "wrong_operands"),
        ("addi a0, a1, 16", "addi a0, a1, 0x11", "wrong_operands"),
        ("sw a0, 8(sp)", "sw sp, 8(a0)", "wrong_operands"),
        ("vadd.vv vd, va, vb", "vadd.vv vd, vb, va", "wrong_operands"),
        ("mulw a0, a1, a2", "mul a0, a1, a2", "wrong_mnemonic"),
        ("lw a0, 8(x2)", "lw a0, 8(x3)", "wrong_operands"),
        ("add a0, a1, a2", "sub a0, a1, a2\nadd a0, a1, a2", "wrong_mnemonic"),
        ("lui a0, 1\naddi a0, a0, 1", "lui a0, 1", "wrong_mnemonic"),
        ("lui a0, 1\naddi a0, a0, 1", "lui a0, 1\naddi a0, a0, 2", "wrong_operands"),
        ("li a0, 100000", "addi a0, zero, 100000", "wrong_mnemonic"),
        ("add a0, a1, a2", "plus a0, a1, a2", "not_an_instruction"),
        ("add a0, a1, a2", "add", "not_an_instruction"),
        ("add a0, a1, a2", "ecall", "wrong_mnemonic"),
        ("add a0, a1, a2", "Add the values in a1 and a2 and store them.", "not_an_instruction"),
        ("add a0, a1, a2", " \n\t", "empty"),
    ],
)
def test_wrong_answers(target, answer, kind):
    assert judged(target, answer) == (0.0, kind)


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("mv a0, a1", "addi a0, a1, 0"),
        ("ble a0, a1, done", "bge x11, x10, done"),
        ("ret", "jalr x0, 0(x1)"),
        ("li a0, -5", "addi a0, x0, -0x5"),
        ("jalr a0, 8(a1)", "jalr a0, a1, 8"),
        ("lr.w a0, (a1)", "lr.w a0, 0(a1)"),
        ("addi s0, sp, 16", "addi fp, x2, 0x10"),
        ("lui a0, 1\naddi a0, a0, 1", "```\nlui a0, 0x1 ; addi a0, a0, 1\n```"),
        ("vadd.vv vd, va, vb", "This one:\nVADD.VV vd,va,vb"),  # an extension that is not in the table
        ("f[rd] = f[rs1] + f[rs2]", "F[rd] = f[rs1]  + f[rs2]"),  # nor are all of the Hub's rows assembly
        ("beqrs1,rs2, label", "beq rs1, rs2, label"),  # or as they were before they went through a PDF
        ("auipc rd, imm 35", "auipc rd, imm"),
    ],
)
def test_what_assembles_alike_is_right(target, answer):
    assert judged(target, answer) == (1.0, "ok")


def test_any_accepted_answer_is_right():
    row = {"description": "Copy.", "instructions": "mv rd, rs", "accepted": ["mv rd, rs", "mv"]}
    assert [score(row, answer).value for answer in ("mv rd, rs", "mv", "mv rd")] == [1.0, 1.0, 0.0]
    row["accepted"].append("# nothing")
    assert score(row, "add rd, rs, rs").value == 0.0


@pytest.mark.slow
def test_no_answer_is_too_odd():
    long = [
        "a",
        "0",
        ",",
        "-",
        ": ",
        "`",
        "(",
        " ",
        "\n",
        "add ",
        "x1,",
        "rd",
        "9\n",
        "{}",
        "\u0130",
        "\ud800",
        "//",
        "0x",
    ]
    started = time.perf_counter()
    for answer in ["{0}{rs}", "mv {0}, {x}", "li a0,", "li", "\0", "add 0x,--1", *(part * 50_000 for part in long)]:
        assert judged("mv a0, a1", answer)[0] == 0.0
        assert judged(answer, answer)[1] in ("ok", "empty", "no_reference")
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize("answer", ["add a0, a1, a2", ""])
def test_a_row_without_an_instruction_is_not_judged(answer):
    assert judged("# to be done", answer) == (None, "no_reference")


def test_prompt_and_completion():
    row = {"description": " Do nothing. ", "instructions": " nop\n"}
    assert [message["role"] for message in to_messages(row)] == ["user", "assistant"]
    assert to_messages(row)[0]["content"].endswith("for: Do nothing.")
    assert to_messages(row)[1]["content"] == "nop"
    assert set(RISCV.required) <= set(all_rows()[0])
