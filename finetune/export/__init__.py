"""Stage 5: adapters converted, fused or written as GGUF, and checked by running them."""
