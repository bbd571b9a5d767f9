"""``--type riscv``: what an instruction does to its assembly."""
