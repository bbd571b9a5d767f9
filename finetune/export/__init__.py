"""Stage 5: what leaves the project, converted and checked."""
