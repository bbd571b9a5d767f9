"""Stage 1: sources, checks, splits, preview, pairs from a model -> data/."""
