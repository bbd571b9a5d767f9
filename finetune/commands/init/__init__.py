"""``python -m finetune init``: from somebody's files to a run.yml that all four scripts take."""
