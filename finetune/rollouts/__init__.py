"""The model's own answers: sampled, rewarded, watched (GRPO, DPO pairs)."""
