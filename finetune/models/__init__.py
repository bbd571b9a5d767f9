"""--model, --template: Hub, folder, GGUF, builtin; tokenizer, chat templates, loss mask."""
