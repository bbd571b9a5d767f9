"""Stage 4: speed, memory, history -> results/benchmark.json."""
