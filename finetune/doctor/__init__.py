"""``python -m finetune doctor``: a check is a function in software, hardware or sources, named in command."""
