"""Stage 4: speed, memory and the history of both: writes results/benchmark.json."""
