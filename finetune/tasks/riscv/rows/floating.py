"""The floating-point instructions of F and D. What D does as F does is written once, for single precision."""

from finetune.tasks.riscv.rows.phrases import FLOAT_LOADED, FLOAT_VALUE, STORED, TRUTH, VALUE, Group, Words

_ARITHMETIC: Words = {
    "fadd.s {frd}, {frs1}, {frs2}": (
        "the single-precision sum of {frs1} and {frs2}",
        "{frs1} plus {frs2} in single precision",
    ),
    "fsub.s {frd}, {frs1}, {frs2}": (
        "the single-precision difference {frs1} minus {frs2}",
        "{frs1} with {frs2} subtracted from it in single precision",
    ),
    "fmul.s {frd}, {frs1}, {frs2}": (
        "the single-precision product of {frs1} and {frs2}",
        "{frs1} times {frs2} in single precision",
    ),
    "fdiv.s {frd}, {frs1}, {frs2}": (
        "the single-precision quotient of {frs1} divided by {frs2}",
        "{frs1} over {frs2} in single precision",
    ),
    "fsqrt.s {frd}, {frs1}": ("the single-precision square root of {frs1}", "the root of {frs1} in single precision"),
    "fmin.s {frd}, {frs1}, {frs2}": (
        "the smaller of the single-precision values {frs1} and {frs2}",
        "the minimum of {frs1} and {frs2} in single precision",
    ),
    "fmax.s {frd}, {frs1}, {frs2}": (
        "the larger of the single-precision values {frs1} and {frs2}",
        "the maximum of {frs1} and {frs2} in single precision",
    ),
    "fmadd.s {frd}, {frs1}, {frs2}, {frs3}": (
        "the fused single-precision result of {frs1} times {frs2}, plus {frs3}",
        "({frs1} * {frs2}) + {frs3} in single precision with one rounding",
    ),
    "fmsub.s {frd}, {frs1}, {frs2}, {frs3}": (
        "the fused single-precision result of {frs1} times {frs2}, minus {frs3}",
        "({frs1} * {frs2}) - {frs3} in single precision with one rounding",
    ),
    "fnmadd.s {frd}, {frs1}, {frs2}, {frs3}": (
        "the fused single-precision result of the negated product of {frs1} and {frs2}, minus {frs3}",
        "-({frs1} * {frs2}) - {frs3} in single precision with one rounding",
    ),
    "fnmsub.s {frd}, {frs1}, {frs2}, {frs3}": (
        "the fused single-precision result of the negated product of {frs1} and {frs2}, plus {frs3}",
        "-({frs1} * {frs2}) + {frs3} in single precision with one rounding",
    ),
    "fsgnj.s {frd}, {frs1}, {frs2}": (
        "the single-precision value {frs1} with the sign of {frs2}",
        "the magnitude of {frs1} and the sign bit of {frs2}, both single-precision",
    ),
    "fsgnjn.s {frd}, {frs1}, {frs2}": (
        "the single-precision value {frs1} with the opposite of the sign of {frs2}",
        "the magnitude of {frs1} and the inverted sign bit of {frs2}, both single-precision",
    ),
    "fsgnjx.s {frd}, {frs1}, {frs2}": (
        "the single-precision value {frs1} with the exclusive OR of the signs of {frs1} and {frs2}",
        "the single-precision value {frs1}, its sign flipped if {frs2} is negative",
    ),
    "fmv.s {frd}, {frs}": (
        "a copy of the single-precision value in {frs}",
        "the unchanged single-precision number of {frs}",
    ),
    "fabs.s {frd}, {frs}": (
        "the absolute value of the single-precision number in {frs}",
        "the single-precision number of {frs} without its sign",
    ),
    "fneg.s {frd}, {frs}": (
        "the negated single-precision number in {frs}",
        "the single-precision number of {frs} with its sign inverted",
    ),
}

_COMPARISONS: Words = {
    "feq.s {rd}, {frs1}, {frs2}": (
        "the single-precision values in {frs1} and {frs2} are equal",
        "{frs1} equals {frs2} in single precision",
    ),
    "flt.s {rd}, {frs1}, {frs2}": (
        "the single-precision value in {frs1} is less than the one in {frs2}",
        "{frs1} lies below {frs2} in single precision",
    ),
    "fle.s {rd}, {frs1}, {frs2}": (
        "the single-precision value in {frs1} is less than or equal to the one in {frs2}",
        "{frs1} is at most {frs2} in single precision",
    ),
    "fgt.s {rd}, {frs1}, {frs2}": (
        "the single-precision value in {frs1} is greater than the one in {frs2}",
        "{frs1} lies above {frs2} in single precision",
    ),
    "fge.s {rd}, {frs1}, {frs2}": (
        "the single-precision value in {frs1} is greater than or equal to the one in {frs2}",
        "{frs1} is at least {frs2} in single precision",
    ),
}

_CLASSES: Words = {
    "fclass.s {rd}, {frs1}": (
        "the class mask of the single-precision value in {frs1}",
        "the 10-bit mask that says what kind of single-precision number {frs1} holds",
    ),
}

_INTEGERS_32 = {"w": "a signed 32-bit integer", "wu": "an unsigned 32-bit integer"}
_INTEGERS_64 = {"l": "a signed 64-bit integer", "lu": "an unsigned 64-bit integer"}


def _to_integer(integers: dict[str, str]) -> Words:
    words: Words = {}
    for letters, integer in integers.items():
        words[f"fcvt.{letters}.s {{rd}}, {{frs1}}"] = (
            f"the single-precision value in {{frs1}} converted to {integer} in the current rounding mode",
            f"the single-precision number {{frs1}} as {integer}, rounded as the dynamic rounding mode says",
        )
        words[f"fcvt.{letters}.s {{rd}}, {{frs1}}, rtz"] = (
            f"the single-precision value in {{frs1}} converted to {integer}, rounded toward zero",
            f"the single-precision number {{frs1}} as {integer}, its fraction cut off",
        )
    return words


def _from_integer(integers: dict[str, str]) -> Words:
    return {
        f"fcvt.s.{letters} {{frd}}, {{rs1}}": (
            f"{{rs1}}, which holds {integer}, converted to single precision",
            f"the single-precision number with the value of {{rs1}}, read as {integer}",
        )
        for letters, integer in integers.items()
    }


def _double(words: Words) -> Words:
    return {
        pattern.replace(".s", ".d"): tuple(text.replace("single", "double") for text in texts)
        for pattern, texts in words.items()
    }


_SINGLE_LOAD: Words = {
    "flw {frd}, {offset}({rs1})": (
        "the single-precision number at offset {offset} from the address in {rs1}",
        "a 32-bit float from the memory address {rs1} plus {offset}",
    )
}
_SINGLE_STORE: Words = {
    "fsw {frs2}, {offset}({rs1})": ("the single-precision number in {frs2}", "the 32-bit float {frs2}")
}
_DOUBLE_LOAD: Words = {
    "fld {frd}, {offset}({rs1})": (
        "the double-precision number at offset {offset} from the address in {rs1}",
        "a 64-bit float from the memory address {rs1} plus {offset}",
    )
}
_DOUBLE_STORE: Words = {
    "fsd {frs2}, {offset}({rs1})": ("the double-precision number in {frs2}", "the 64-bit float {frs2}")
}

_SINGLE_BITS: Words = {
    "fmv.x.w {rd}, {frs1}": (
        "the raw 32 bits of the single-precision register {frs1}",
        "the bit pattern of the single-precision number in {frs1}, without a conversion",
    )
}
_SINGLE_OF_BITS: Words = {
    "fmv.w.x {frd}, {rs1}": (
        "the single-precision number whose raw bits are the low 32 bits of {rs1}",
        "the low word of {rs1} as the bit pattern of a single-precision number, without a conversion",
    )
}
_DOUBLE_BITS: Words = {
    "fmv.x.d {rd}, {frs1}": (
        "the raw 64 bits of the double-precision register {frs1}",
        "the bit pattern of the double-precision number in {frs1}, without a conversion",
    )
}
_DOUBLE_OF_BITS: Words = {
    "fmv.d.x {frd}, {rs1}": (
        "the double-precision number whose raw bits are the 64 bits of {rs1}",
        "the doubleword of {rs1} as the bit pattern of a double-precision number, without a conversion",
    )
}

_BETWEEN: Words = {
    "fcvt.s.d {frd}, {frs1}": (
        "the double-precision number in {frs1} rounded to single precision",
        "{frs1} converted from double to single precision",
    ),
    "fcvt.d.s {frd}, {frs1}": (
        "the single-precision number in {frs1} widened to double precision",
        "{frs1} converted from single to double precision",
    ),
}

GROUPS = (
    Group("RV32F", FLOAT_VALUE, _ARITHMETIC | _from_integer(_INTEGERS_32) | _SINGLE_OF_BITS),
    Group("RV32F", VALUE, _CLASSES | _to_integer(_INTEGERS_32) | _SINGLE_BITS),
    Group("RV32F", TRUTH, _COMPARISONS),
    Group("RV32F", FLOAT_LOADED, _SINGLE_LOAD),
    Group("RV32F", STORED, _SINGLE_STORE),
    Group("RV64F", FLOAT_VALUE, _from_integer(_INTEGERS_64)),
    Group("RV64F", VALUE, _to_integer(_INTEGERS_64)),
    Group("RV32D", FLOAT_VALUE, _double(_ARITHMETIC | _from_integer(_INTEGERS_32)) | _BETWEEN),
    Group("RV32D", VALUE, _double(_CLASSES | _to_integer(_INTEGERS_32))),
    Group("RV32D", TRUTH, _double(_COMPARISONS)),
    Group("RV32D", FLOAT_LOADED, _DOUBLE_LOAD),
    Group("RV32D", STORED, _DOUBLE_STORE),
    Group("RV64D", FLOAT_VALUE, _double(_from_integer(_INTEGERS_64)) | _DOUBLE_OF_BITS),
    Group("RV64D", VALUE, _double(_to_integer(_INTEGERS_64)) | _DOUBLE_BITS),
)
