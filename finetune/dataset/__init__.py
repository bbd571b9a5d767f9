"""Stage 1: read rows, check each one, split them, and write data/."""
