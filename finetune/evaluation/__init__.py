"""Stage 3: answers, scores, verdict, general questions, chat -> results/evaluation.json."""
