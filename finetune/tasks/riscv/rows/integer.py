"""The base integer instructions of RV32I and RV64I, and those of M and of the privileged modes."""

from finetune.tasks.riscv.rows.phrases import BRANCH, LOADED, SENTENCE, STORED, TRUTH, VALUE, Group, Words

_ARITHMETIC: Words = {
    "add {rd}, {rs1}, {rs2}": ("the sum of {rs1} and {rs2}", "{rs1} plus {rs2}"),
    "sub {rd}, {rs1}, {rs2}": ("the difference {rs1} minus {rs2}", "{rs1} with {rs2} subtracted from it"),
    "and {rd}, {rs1}, {rs2}": ("the bitwise AND of {rs1} and {rs2}", "the bits that are set in both {rs1} and {rs2}"),
    "or {rd}, {rs1}, {rs2}": (
        "the bitwise OR of {rs1} and {rs2}",
        "the bits that are set in {rs1}, in {rs2} or in both",
    ),
    "xor {rd}, {rs1}, {rs2}": (
        "the bitwise exclusive OR of {rs1} and {rs2}",
        "the bits in which {rs1} and {rs2} differ",
    ),
    "sll {rd}, {rs1}, {rs2}": (
        "{rs1} shifted left by the amount in {rs2}",
        "the logical left shift of {rs1}, by as many bits as {rs2} says",
    ),
    "srl {rd}, {rs1}, {rs2}": (
        "{rs1} shifted right by the amount in {rs2}, filled with zeros",
        "the logical right shift of {rs1}, by as many bits as {rs2} says",
    ),
    "sra {rd}, {rs1}, {rs2}": (
        "{rs1} shifted right by the amount in {rs2}, filled with copies of the sign bit",
        "the arithmetic right shift of {rs1}, by as many bits as {rs2} says",
    ),
    "addi {rd}, {rs1}, {imm}": ("the sum of {rs1} and the immediate {imm}", "{rs1} plus the constant {imm}"),
    "andi {rd}, {rs1}, {imm}": (
        "the bitwise AND of {rs1} and the immediate {imm}",
        "the bits that are set in both {rs1} and the sign-extended constant {imm}",
    ),
    "ori {rd}, {rs1}, {imm}": (
        "the bitwise OR of {rs1} and the immediate {imm}",
        "the bits that are set in {rs1} or in the sign-extended constant {imm}",
    ),
    "xori {rd}, {rs1}, {imm}": (
        "the bitwise exclusive OR of {rs1} and the immediate {imm}",
        "the bits in which {rs1} and the sign-extended constant {imm} differ",
    ),
    "slli {rd}, {rs1}, {shamt}": (
        "{rs1} shifted left by the constant amount {shamt}",
        "the logical left shift of {rs1} by the immediate {shamt}",
    ),
    "srli {rd}, {rs1}, {shamt}": (
        "{rs1} shifted right by the constant amount {shamt}, filled with zeros",
        "the logical right shift of {rs1} by the immediate {shamt}",
    ),
    "srai {rd}, {rs1}, {shamt}": (
        "{rs1} shifted right by the constant amount {shamt}, filled with copies of the sign bit",
        "the arithmetic right shift of {rs1} by the immediate {shamt}",
    ),
    "lui {rd}, {imm20}": (
        "the 20-bit immediate {imm20} shifted left by 12 bits",
        "the constant with {imm20} in bits 31 to 12 and zeros in the low 12 bits",
    ),
    "auipc {rd}, {imm20}": (
        "the program counter plus the 20-bit immediate {imm20} shifted left by 12 bits",
        "the address of this instruction plus {imm20} times 4096",
    ),
}

_COMPARISONS: Words = {
    "slt {rd}, {rs1}, {rs2}": ("{rs1} is less than {rs2} as signed numbers", "signed {rs1} lies below signed {rs2}"),
    "sltu {rd}, {rs1}, {rs2}": (
        "{rs1} is less than {rs2} as unsigned numbers",
        "unsigned {rs1} lies below unsigned {rs2}",
    ),
    "slti {rd}, {rs1}, {imm}": (
        "{rs1} is less than the immediate {imm} as signed numbers",
        "signed {rs1} lies below the constant {imm}",
    ),
    "sltiu {rd}, {rs1}, {imm}": (
        "{rs1} is less than the sign-extended immediate {imm} as unsigned numbers",
        "unsigned {rs1} lies below the constant {imm}, sign-extended and then taken as unsigned",
    ),
}

_BRANCHES: Words = {
    "beq {rs1}, {rs2}, {label}": ("{rs1} equals {rs2}", "{rs1} and {rs2} hold the same value"),
    "bne {rs1}, {rs2}, {label}": ("{rs1} does not equal {rs2}", "{rs1} and {rs2} hold different values"),
    "blt {rs1}, {rs2}, {label}": ("{rs1} is less than {rs2} as signed numbers", "signed {rs1} lies below signed {rs2}"),
    "bge {rs1}, {rs2}, {label}": (
        "{rs1} is greater than or equal to {rs2} as signed numbers",
        "signed {rs1} is at least signed {rs2}",
    ),
    "bltu {rs1}, {rs2}, {label}": (
        "{rs1} is less than {rs2} as unsigned numbers",
        "unsigned {rs1} lies below unsigned {rs2}",
    ),
    "bgeu {rs1}, {rs2}, {label}": (
        "{rs1} is greater than or equal to {rs2} as unsigned numbers",
        "unsigned {rs1} is at least unsigned {rs2}",
    ),
}

_LOADS: Words = {
    "lb {rd}, {offset}({rs1})": (
        "the sign-extended byte at offset {offset} from the address in {rs1}",
        "a signed 8-bit value from the memory address {rs1} plus {offset}",
    ),
    "lbu {rd}, {offset}({rs1})": (
        "the zero-extended byte at offset {offset} from the address in {rs1}",
        "an unsigned 8-bit value from the memory address {rs1} plus {offset}",
    ),
    "lh {rd}, {offset}({rs1})": (
        "the sign-extended halfword at offset {offset} from the address in {rs1}",
        "a signed 16-bit value from the memory address {rs1} plus {offset}",
    ),
    "lhu {rd}, {offset}({rs1})": (
        "the zero-extended halfword at offset {offset} from the address in {rs1}",
        "an unsigned 16-bit value from the memory address {rs1} plus {offset}",
    ),
    "lw {rd}, {offset}({rs1})": (
        "the sign-extended word at offset {offset} from the address in {rs1}",
        "a signed 32-bit value from the memory address {rs1} plus {offset}",
    ),
}

_LOADS_64: Words = {
    "lwu {rd}, {offset}({rs1})": (
        "the zero-extended word at offset {offset} from the address in {rs1}",
        "an unsigned 32-bit value from the memory address {rs1} plus {offset}",
    ),
    "ld {rd}, {offset}({rs1})": (
        "the doubleword at offset {offset} from the address in {rs1}",
        "a 64-bit value from the memory address {rs1} plus {offset}",
    ),
}

_STORES: Words = {
    "sb {rs2}, {offset}({rs1})": ("the low byte of {rs2}", "the least significant 8 bits of {rs2}"),
    "sh {rs2}, {offset}({rs1})": ("the low halfword of {rs2}", "the least significant 16 bits of {rs2}"),
    "sw {rs2}, {offset}({rs1})": ("the low word of {rs2}", "the least significant 32 bits of {rs2}"),
}

_STORES_64: Words = {"sd {rs2}, {offset}({rs1})": ("the doubleword in {rs2}", "all 64 bits of {rs2}")}

_CONTROL: Words = {
    "jal {rd}, {label}": (
        "Jump to {label} and save the return address in {rd}",
        "Write the address of the next instruction to {rd} and continue at {label}",
    ),
    "jalr {rd}, {offset}({rs1})": (
        "Jump to the address {rs1} plus {offset} and save the return address in {rd}",
        "Continue at offset {offset} from the address in {rs1}, with the address of the next instruction in {rd}",
    ),
    "fence {pred}, {succ}": (
        "Issue a fence with the predecessor set {pred} and the successor set {succ}",
        "Order all earlier accesses of the kinds {pred} before all later accesses of the kinds {succ}",
    ),
    "ecall": (
        "Make a system call to the execution environment",
        "Request a service from the operating system by a trap",
    ),
    "ebreak": ("Raise a breakpoint exception", "Hand control to the debugger"),
}

_FETCH_FENCE: Words = {
    "fence.i": (
        "Make earlier stores to instruction memory visible to later instruction fetches",
        "Synchronise the instruction stream of this hart with its writes to memory",
    ),
}

_PRIVILEGED: Words = {
    "mret": ("Return from a trap that was handled in machine mode", "Leave the machine-mode trap handler"),
    "sret": ("Return from a trap that was handled in supervisor mode", "Leave the supervisor-mode trap handler"),
    "wfi": ("Stall this hart until an interrupt may need service", "Wait for an interrupt"),
}

_WORDS_64: Words = {
    "addw {rd}, {rs1}, {rs2}": (
        "the 32-bit sum of {rs1} and {rs2}, sign-extended to 64 bits",
        "the low word of the sum {rs1} plus {rs2}, sign-extended",
    ),
    "subw {rd}, {rs1}, {rs2}": (
        "the 32-bit difference {rs1} minus {rs2}, sign-extended to 64 bits",
        "the low word of the difference {rs1} minus {rs2}, sign-extended",
    ),
    "addiw {rd}, {rs1}, {imm}": (
        "the 32-bit sum of {rs1} and the immediate {imm}, sign-extended to 64 bits",
        "the low word of the sum {rs1} plus the constant {imm}, sign-extended",
    ),
    "sllw {rd}, {rs1}, {rs2}": (
        "the low 32 bits of {rs1} shifted left by the amount in {rs2}, with the 32-bit result sign-extended",
        "the 32-bit left shift of {rs1}, by as many bits as {rs2} says, sign-extended",
    ),
    "srlw {rd}, {rs1}, {rs2}": (
        "the low 32 bits of {rs1} shifted right logically by the amount in {rs2}, with the 32-bit result sign-extended",
        "the 32-bit logical right shift of {rs1}, by as many bits as {rs2} says, sign-extended",
    ),
    "sraw {rd}, {rs1}, {rs2}": (
        "the low 32 bits of {rs1} shifted right arithmetically by the amount in {rs2}, with the 32-bit result sign-extended",
        "the 32-bit arithmetic right shift of {rs1}, by as many bits as {rs2} says, sign-extended",
    ),
    "slliw {rd}, {rs1}, {shamt}": (
        "the low 32 bits of {rs1} shifted left by the constant amount {shamt}, with the 32-bit result sign-extended",
        "the 32-bit left shift of {rs1} by the immediate {shamt}, sign-extended",
    ),
    "srliw {rd}, {rs1}, {shamt}": (
        "the low 32 bits of {rs1} shifted right logically by the constant amount {shamt}, with the 32-bit result sign-extended",
        "the 32-bit logical right shift of {rs1} by the immediate {shamt}, sign-extended",
    ),
    "sraiw {rd}, {rs1}, {shamt}": (
        "the low 32 bits of {rs1} shifted right arithmetically by the constant amount {shamt}, sign-extended to 64 bits",
        "the 32-bit arithmetic right shift of {rs1} by the immediate {shamt}, sign-extended",
    ),
}

_PRODUCTS: Words = {
    "mul {rd}, {rs1}, {rs2}": (
        "the lower half of the product of {rs1} and {rs2}",
        "the least significant XLEN bits of {rs1} times {rs2}",
    ),
    "mulh {rd}, {rs1}, {rs2}": (
        "the upper half of the product of {rs1} and {rs2}, both signed",
        "the most significant XLEN bits of signed {rs1} times signed {rs2}",
    ),
    "mulhu {rd}, {rs1}, {rs2}": (
        "the upper half of the product of {rs1} and {rs2}, both unsigned",
        "the most significant XLEN bits of unsigned {rs1} times unsigned {rs2}",
    ),
    "mulhsu {rd}, {rs1}, {rs2}": (
        "the upper half of the product of {rs1}, signed, and {rs2}, unsigned",
        "the most significant XLEN bits of signed {rs1} times unsigned {rs2}",
    ),
    "div {rd}, {rs1}, {rs2}": (
        "the signed quotient of {rs1} divided by {rs2}",
        "{rs1} divided by {rs2} as signed integers, rounded toward zero",
    ),
    "divu {rd}, {rs1}, {rs2}": (
        "the unsigned quotient of {rs1} divided by {rs2}",
        "{rs1} divided by {rs2} as unsigned integers",
    ),
    "rem {rd}, {rs1}, {rs2}": (
        "the signed remainder of {rs1} divided by {rs2}",
        "what is left over when {rs1} is divided by {rs2}, both signed",
    ),
    "remu {rd}, {rs1}, {rs2}": (
        "the unsigned remainder of {rs1} divided by {rs2}",
        "what is left over when {rs1} is divided by {rs2}, both unsigned",
    ),
}

_PRODUCTS_64: Words = {
    "mulw {rd}, {rs1}, {rs2}": (
        "the low 32 bits of the product of {rs1} and {rs2}, sign-extended to 64 bits",
        "the 32-bit product of {rs1} and {rs2}, sign-extended",
    ),
    "divw {rd}, {rs1}, {rs2}": (
        "the signed quotient of the low words of {rs1} and {rs2}, sign-extended to 64 bits",
        "the low 32 bits of {rs1} divided by the low 32 bits of {rs2}, both signed, and sign-extended",
    ),
    "divuw {rd}, {rs1}, {rs2}": (
        "the unsigned quotient of the low words of {rs1} and {rs2}, sign-extended to 64 bits",
        "the low 32 bits of {rs1} divided by the low 32 bits of {rs2}, both unsigned, and sign-extended",
    ),
    "remw {rd}, {rs1}, {rs2}": (
        "the signed remainder of the low words of {rs1} and {rs2}, sign-extended to 64 bits",
        "what is left over when the low 32 bits of {rs1} are divided by the low 32 bits of {rs2}, both signed",
    ),
    "remuw {rd}, {rs1}, {rs2}": (
        "the unsigned remainder of the low words of {rs1} and {rs2}, sign-extended to 64 bits",
        "what is left over when the low 32 bits of {rs1} are divided by the low 32 bits of {rs2}, both unsigned",
    ),
}

GROUPS = (
    Group("RV32I", VALUE, _ARITHMETIC),
    Group("RV32I", TRUTH, _COMPARISONS),
    Group("RV32I", BRANCH, _BRANCHES),
    Group("RV32I", LOADED, _LOADS),
    Group("RV32I", STORED, _STORES),
    Group("RV32I", SENTENCE, _CONTROL),
    Group("RV64I", VALUE, _WORDS_64),
    Group("RV64I", LOADED, _LOADS_64),
    Group("RV64I", STORED, _STORES_64),
    Group("RV32M", VALUE, _PRODUCTS),
    Group("RV64M", VALUE, _PRODUCTS_64),
    Group("Zifencei", SENTENCE, _FETCH_FENCE),
    Group("Privileged", SENTENCE, _PRIVILEGED),
)
