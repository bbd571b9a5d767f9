"""The model's own answers: sampled, rewarded and watched, for GRPO and for preference pairs."""
