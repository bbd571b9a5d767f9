"""``python -m finetune doctor``: a check is a function in one of its modules, named in command."""
