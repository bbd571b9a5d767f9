"""The pseudo-instructions of the assembler, and what they stand for."""

from finetune.tasks.riscv.rows.phrases import BRANCH, SENTENCE, TRUTH, VALUE, Group, Words

_VALUES: Words = {
    "mv {rd}, {rs}": ("a copy of {rs}", "the unchanged value of {rs}"),
    "not {rd}, {rs}": ("the bitwise complement of {rs}", "{rs} with every bit inverted"),
    "neg {rd}, {rs}": ("the two's complement of {rs}", "{rs} with its sign changed"),
    "zext.b {rd}, {rs}": ("the low byte of {rs} zero-extended", "only the least significant 8 bits of {rs}"),
    "li {rd}, {constant}": ("the constant {constant}", "the immediate value {constant}"),
    "la {rd}, {symbol}": ("the address of {symbol}", "the memory address that {symbol} stands for"),
}

_VALUES_64: Words = {
    "negw {rd}, {rs}": (
        "the two's complement of the low word of {rs}, sign-extended to 64 bits",
        "the 32-bit value of {rs} with its sign changed, sign-extended",
    ),
    "sext.w {rd}, {rs}": (
        "the low 32 bits of {rs} sign-extended to 64 bits",
        "the low word of {rs} as a signed 64-bit number",
    ),
}

_TRUTHS: Words = {
    "seqz {rd}, {rs}": ("{rs} is zero", "{rs} equals zero"),
    "snez {rd}, {rs}": ("{rs} is not zero", "{rs} differs from zero"),
    "sltz {rd}, {rs}": ("{rs} is negative", "{rs} is less than zero"),
    "sgtz {rd}, {rs}": ("{rs} is positive", "{rs} is greater than zero"),
}

_BRANCHES: Words = {
    "beqz {rs}, {label}": ("{rs} is zero", "{rs} equals zero"),
    "bnez {rs}, {label}": ("{rs} is not zero", "{rs} differs from zero"),
    "blez {rs}, {label}": ("{rs} is less than or equal to zero", "{rs} is zero or negative"),
    "bgez {rs}, {label}": ("{rs} is greater than or equal to zero", "{rs} is zero or positive"),
    "bltz {rs}, {label}": ("{rs} is less than zero", "{rs} is negative"),
    "bgtz {rs}, {label}": ("{rs} is greater than zero", "{rs} is positive"),
    "bgt {rs1}, {rs2}, {label}": (
        "{rs1} is greater than {rs2} as signed numbers",
        "signed {rs1} lies above signed {rs2}",
    ),
    "ble {rs1}, {rs2}, {label}": (
        "{rs1} is less than or equal to {rs2} as signed numbers",
        "signed {rs1} is at most signed {rs2}",
    ),
    "bgtu {rs1}, {rs2}, {label}": (
        "{rs1} is greater than {rs2} as unsigned numbers",
        "unsigned {rs1} lies above unsigned {rs2}",
    ),
    "bleu {rs1}, {rs2}, {label}": (
        "{rs1} is less than or equal to {rs2} as unsigned numbers",
        "unsigned {rs1} is at most unsigned {rs2}",
    ),
}

_CONTROL: Words = {
    "nop": ("Do nothing", "Advance the program counter and change nothing else"),
    "j {label}": ("Jump to {label} without saving a return address", "Continue at {label} in any case"),
    "jal {label}": (
        "Jump to {label} and save the return address in ra",
        "Continue at {label}, with the address of the next instruction in ra",
    ),
    "jr {rs}": (
        "Jump to the address in {rs} without saving a return address",
        "Continue wherever {rs} points, and save nothing",
    ),
    "jalr {rs}": (
        "Jump to the address in {rs} and save the return address in ra",
        "Continue wherever {rs} points, with the address of the next instruction in ra",
    ),
    "ret": ("Return from the current function to its caller", "Jump to the return address in ra"),
    "call {function}": (
        "Call {function}, however far away it is",
        "Call {function} with a pair of instructions that reaches any address",
    ),
    "tail {function}": (
        "Tail-call {function}, however far away it is",
        "Jump to {function} at any distance so that it returns to our own caller",
    ),
    "fence": (
        "Order all earlier memory and I/O accesses before all later ones",
        "Issue a full memory barrier",
    ),
}

_CSR: Words = {
    "csrr {rd}, {csr}": ("Read the CSR {csr} into {rd}", "Copy the value of the CSR {csr} to {rd}"),
    "csrw {csr}, {rs}": ("Write {rs} to the CSR {csr}", "Copy {rs} to the CSR {csr} and drop its old value"),
    "csrs {csr}, {rs}": (
        "Set in the CSR {csr} the bits that are set in {rs}",
        "OR the mask {rs} into the CSR {csr} and drop its old value",
    ),
    "csrc {csr}, {rs}": (
        "Clear in the CSR {csr} the bits that are set in {rs}",
        "Remove the bits of the mask {rs} from the CSR {csr} and drop its old value",
    ),
    "csrwi {csr}, {uimm}": (
        "Write the 5-bit immediate {uimm} to the CSR {csr}",
        "Copy the constant {uimm} to the CSR {csr} and drop its old value",
    ),
    "csrsi {csr}, {uimm}": (
        "Set in the CSR {csr} the bits of the 5-bit immediate {uimm}",
        "OR the constant mask {uimm} into the CSR {csr} and drop its old value",
    ),
    "csrci {csr}, {uimm}": (
        "Clear in the CSR {csr} the bits of the 5-bit immediate {uimm}",
        "Remove the bits of the constant mask {uimm} from the CSR {csr} and drop its old value",
    ),
}

_COUNTERS: Words = {
    "rdcycle {rd}": ("the number of clock cycles so far", "the cycle counter"),
    "rdtime {rd}": ("the wall-clock time of the timer", "the real-time counter"),
    "rdinstret {rd}": ("the number of instructions retired so far", "the counter of retired instructions"),
}

_FLOAT_CSR: Words = {
    "frcsr {rd}": (
        "Read the floating-point control and status register into {rd}",
        "Copy the whole floating-point status, flags and rounding mode, to {rd}",
    ),
    "fscsr {rs}": (
        "Write {rs} to the floating-point control and status register",
        "Replace the whole floating-point status, flags and rounding mode, with {rs}",
    ),
    "frrm {rd}": ("Read the floating-point rounding mode into {rd}", "Copy the dynamic rounding mode to {rd}"),
    "fsrm {rs}": ("Set the floating-point rounding mode to {rs}", "Make {rs} the dynamic rounding mode"),
    "frflags {rd}": (
        "Read the floating-point exception flags into {rd}",
        "Copy the accrued floating-point exceptions to {rd}",
    ),
    "fsflags {rs}": (
        "Set the floating-point exception flags to {rs}",
        "Replace the accrued floating-point exceptions with {rs}",
    ),
}

GROUPS = (
    Group("RV32I", VALUE, _VALUES),
    Group("RV64I", VALUE, _VALUES_64),
    Group("RV32I", TRUTH, _TRUTHS),
    Group("RV32I", BRANCH, _BRANCHES),
    Group("RV32I", SENTENCE, _CONTROL),
    Group("Zicsr", SENTENCE, _CSR),
    Group("Zicntr", VALUE, _COUNTERS),
    Group("RV32F", SENTENCE, _FLOAT_CSR),
)

# The same machine code. li stands for an addi only where its constant fits into 12 bits; call, tail and la are two
# instructions.
SAME_AS = {
    "nop": "addi zero, zero, 0",
    "mv {rd}, {rs}": "addi {rd}, {rs}, 0",
    "not {rd}, {rs}": "xori {rd}, {rs}, -1",
    "neg {rd}, {rs}": "sub {rd}, zero, {rs}",
    "negw {rd}, {rs}": "subw {rd}, zero, {rs}",
    "zext.b {rd}, {rs}": "andi {rd}, {rs}, 255",
    "sext.w {rd}, {rs}": "addiw {rd}, {rs}, 0",
    "li {rd}, {constant}": "addi {rd}, zero, {constant}",
    "seqz {rd}, {rs}": "sltiu {rd}, {rs}, 1",
    "snez {rd}, {rs}": "sltu {rd}, zero, {rs}",
    "sltz {rd}, {rs}": "slt {rd}, {rs}, zero",
    "sgtz {rd}, {rs}": "slt {rd}, zero, {rs}",
    "beqz {rs}, {label}": "beq {rs}, zero, {label}",
    "bnez {rs}, {label}": "bne {rs}, zero, {label}",
    "blez {rs}, {label}": "bge zero, {rs}, {label}",
    "bgez {rs}, {label}": "bge {rs}, zero, {label}",
    "bltz {rs}, {label}": "blt {rs}, zero, {label}",
    "bgtz {rs}, {label}": "blt zero, {rs}, {label}",
    "bgt {rs1}, {rs2}, {label}": "blt {rs2}, {rs1}, {label}",
    "ble {rs1}, {rs2}, {label}": "bge {rs2}, {rs1}, {label}",
    "bgtu {rs1}, {rs2}, {label}": "bltu {rs2}, {rs1}, {label}",
    "bleu {rs1}, {rs2}, {label}": "bgeu {rs2}, {rs1}, {label}",
    "j {label}": "jal zero, {label}",
    "jal {label}": "jal ra, {label}",
    "jr {rs}": "jalr zero, 0({rs})",
    "jalr {rs}": "jalr ra, 0({rs})",
    "jalr {rd}, {rs1}, {imm}": "jalr {rd}, {imm}({rs1})",
    "ret": "jalr zero, 0(ra)",
    "fence": "fence iorw, iorw",
    "csrr {rd}, {csr}": "csrrs {rd}, {csr}, zero",
    "csrw {csr}, {rs}": "csrrw zero, {csr}, {rs}",
    "csrs {csr}, {rs}": "csrrs zero, {csr}, {rs}",
    "csrc {csr}, {rs}": "csrrc zero, {csr}, {rs}",
    "csrwi {csr}, {uimm}": "csrrwi zero, {csr}, {uimm}",
    "csrsi {csr}, {uimm}": "csrrsi zero, {csr}, {uimm}",
    "csrci {csr}, {uimm}": "csrrci zero, {csr}, {uimm}",
    "rdcycle {rd}": "csrrs {rd}, cycle, zero",
    "rdtime {rd}": "csrrs {rd}, time, zero",
    "rdinstret {rd}": "csrrs {rd}, instret, zero",
    "frcsr {rd}": "csrrs {rd}, fcsr, zero",
    "fscsr {rs}": "csrrw zero, fcsr, {rs}",
    "frrm {rd}": "csrrs {rd}, frm, zero",
    "fsrm {rs}": "csrrw zero, frm, {rs}",
    "frflags {rd}": "csrrs {rd}, fflags, zero",
    "fsflags {rs}": "csrrw zero, fflags, {rs}",
    "fmv.s {frd}, {frs}": "fsgnj.s {frd}, {frs}, {frs}",
    "fabs.s {frd}, {frs}": "fsgnjx.s {frd}, {frs}, {frs}",
    "fneg.s {frd}, {frs}": "fsgnjn.s {frd}, {frs}, {frs}",
    "fgt.s {rd}, {frs1}, {frs2}": "flt.s {rd}, {frs2}, {frs1}",
    "fge.s {rd}, {frs1}, {frs2}": "fle.s {rd}, {frs2}, {frs1}",
    "fmv.d {frd}, {frs}": "fsgnj.d {frd}, {frs}, {frs}",
    "fabs.d {frd}, {frs}": "fsgnjx.d {frd}, {frs}, {frs}",
    "fneg.d {frd}, {frs}": "fsgnjn.d {frd}, {frs}, {frs}",
    "fgt.d {rd}, {frs1}, {frs2}": "flt.d {rd}, {frs2}, {frs1}",
    "fge.d {rd}, {frs1}, {frs2}": "fle.d {rd}, {frs2}, {frs1}",
}
