"""Stage 2: plan, run, validation, checkpoints, resume -> checkpoints/."""
