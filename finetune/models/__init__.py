"""Models by name: the Hub, a folder, GGUF, builtin; their tokenizer, chat template and loss mask."""
