"""Stage 2: plan a run, train, validate, keep checkpoints, and resume: writes checkpoints/."""
