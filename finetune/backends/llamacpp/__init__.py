"""llama.cpp runs a GGUF file: its own server, in a process of its own, asked over HTTP on this machine.

Either the one in the package xllamacpp or a ``llama-server`` in PATH. It answers only; it trains nothing.
"""
