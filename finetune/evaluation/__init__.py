"""Stage 3: answers of base and tuned model, their scores, and a verdict: writes results/evaluation.json."""
