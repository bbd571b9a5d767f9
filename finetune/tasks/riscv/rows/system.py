"""The atomic instructions (A) and those of the control and status registers (Zicsr)."""

from finetune.tasks.riscv.rows.phrases import SENTENCE, Group, Words

_EXCHANGE = (
    "Atomically replace the word at the address in {rs1} with %s, and return the old word in {rd}.",
    "In one atomic step, fetch the word that {rs1} points to into {rd} and store back %s.",
    "Load the word at the address in {rs1} into {rd} and atomically overwrite it in memory with %s.",
)

_EXCHANGES: Words = {
    "amoswap.w {rd}, {rs2}, ({rs1})": ("the value of {rs2}", "what {rs2} holds"),
    "amoadd.w {rd}, {rs2}, ({rs1})": ("its sum with {rs2}", "that word plus {rs2}"),
    "amoand.w {rd}, {rs2}, ({rs1})": (
        "its bitwise AND with {rs2}",
        "only those of its bits that are also set in {rs2}",
    ),
    "amoor.w {rd}, {rs2}, ({rs1})": ("its bitwise OR with {rs2}", "the bits that are set in it, in {rs2} or in both"),
    "amoxor.w {rd}, {rs2}, ({rs1})": ("its bitwise exclusive OR with {rs2}", "the bits in which it differs from {rs2}"),
    "amomin.w {rd}, {rs2}, ({rs1})": ("the signed minimum of it and {rs2}", "the smaller of it and {rs2}, both signed"),
    "amomax.w {rd}, {rs2}, ({rs1})": ("the signed maximum of it and {rs2}", "the larger of it and {rs2}, both signed"),
    "amominu.w {rd}, {rs2}, ({rs1})": (
        "the unsigned minimum of it and {rs2}",
        "the smaller of it and {rs2}, both unsigned",
    ),
    "amomaxu.w {rd}, {rs2}, ({rs1})": (
        "the unsigned maximum of it and {rs2}",
        "the larger of it and {rs2}, both unsigned",
    ),
}

_RESERVATIONS: Words = {
    "lr.w {rd}, ({rs1})": (
        "Load the word at the address in {rs1} into {rd} and reserve that address",
        "Begin a load-reserved and store-conditional pair: read the word that {rs1} points to into {rd}",
        "Read the word at the address in {rs1} into {rd} and register a reservation on it",
    ),
    "sc.w {rd}, {rs2}, ({rs1})": (
        "Store the word in {rs2} at the address in {rs1} if it is still reserved; {rd} becomes 0 if it was, else nonzero",
        "End a load-reserved and store-conditional pair: try to write the word of {rs2} where {rs1} points, outcome in {rd}",
        "Write the word in {rs2} to the address in {rs1} only if the reservation holds, and report in {rd} whether it failed",
    ),
}


def _doublewords(words: Words) -> Words:
    return {
        pattern.replace(".w ", ".d "): tuple(text.replace("word", "doubleword") for text in texts)
        for pattern, texts in words.items()
    }


_CSR: Words = {
    "csrrw {rd}, {csr}, {rs1}": (
        "Read the CSR {csr} into {rd} and write {rs1} to it",
        "Exchange: the old value of the CSR {csr} goes to {rd}, and {rs1} becomes its new value",
    ),
    "csrrs {rd}, {csr}, {rs1}": (
        "Read the CSR {csr} into {rd} and set in it the bits that are set in {rs1}",
        "Return the old value of the CSR {csr} in {rd} while OR-ing the mask {rs1} into it",
    ),
    "csrrc {rd}, {csr}, {rs1}": (
        "Read the CSR {csr} into {rd} and clear in it the bits that are set in {rs1}",
        "Return the old value of the CSR {csr} in {rd} while removing the bits of the mask {rs1} from it",
    ),
    "csrrwi {rd}, {csr}, {uimm}": (
        "Read the CSR {csr} into {rd} and write the 5-bit immediate {uimm} to it",
        "Exchange: the old value of the CSR {csr} goes to {rd}, and the constant {uimm} becomes its new value",
    ),
    "csrrsi {rd}, {csr}, {uimm}": (
        "Read the CSR {csr} into {rd} and set in it the bits of the 5-bit immediate {uimm}",
        "Return the old value of the CSR {csr} in {rd} while OR-ing the constant mask {uimm} into it",
    ),
    "csrrci {rd}, {csr}, {uimm}": (
        "Read the CSR {csr} into {rd} and clear in it the bits of the 5-bit immediate {uimm}",
        "Return the old value of the CSR {csr} in {rd} while removing the bits of the constant mask {uimm} from it",
    ),
}

GROUPS = (
    Group("RV32A", _EXCHANGE, _EXCHANGES),
    Group("RV32A", SENTENCE, _RESERVATIONS),
    Group("RV64A", tuple(frame.replace("word", "doubleword") for frame in _EXCHANGE), _doublewords(_EXCHANGES)),
    Group("RV64A", SENTENCE, _doublewords(_RESERVATIONS)),
    Group("Zicsr", SENTENCE, _CSR),
)
