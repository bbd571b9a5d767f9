"""How groups of instructions are described: frames, and the words of each instruction that go into them."""

from dataclasses import dataclass

# by pattern, such as "add {rd}, {rs1}, {rs2}": what the instruction does
Words = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Group:
    """Instructions that are described alike. A description is a frame around one of the words of an instruction."""

    extension: str
    frames: tuple[str, ...]
    words: Words

    def phrases(self, pattern: str) -> list[str]:
        return [frame % words for frame in self.frames for words in self.words[pattern]]


SENTENCE = ("%s.",)

VALUE = (
    "Set {rd} to %s.",
    "Compute %s; the result goes to {rd}.",
    "Store this in register {rd}: %s.",
    "Let {rd} become %s.",
)
FLOAT_VALUE = tuple(frame.replace("{rd}", "{frd}") for frame in VALUE)

LOADED = (
    "Load %s into {rd}.",
    "Read %s and put it in register {rd}.",
    "Fetch %s; the result goes to {rd}.",
)
FLOAT_LOADED = tuple(frame.replace("{rd}", "{frd}") for frame in LOADED)

STORED = (
    "Store %s in memory at offset {offset} from the address in {rs1}.",
    "Write %s to the memory address {rs1} plus {offset}.",
    "With {rs1} as base address and {offset} as offset, save %s to memory.",
)

TRUTH = (
    "Set {rd} to 1 if %s, and to 0 otherwise.",
    "Write 1 to {rd} when %s, else write 0.",
    "Store in {rd} whether %s: 1 for yes, 0 for no.",
)

BRANCH = (
    "Branch to {label} if %s.",
    "Jump to {label} when %s; otherwise go on with the next instruction.",
    "If %s, continue at {label}.",
)
