"""GGUF files for llama.cpp, Ollama and LM Studio: written from the table that FineTune reads them by, and run.

``keys`` and ``vocabulary`` make the metadata, ``tensors`` the weights, ``file`` writes both; ``check`` asks llama.cpp what it
makes of the file, ``modelfile`` writes what Ollama needs, and ``folder`` is the whole export.
"""
