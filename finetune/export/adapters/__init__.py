"""python -m finetune convert-adapter: adapters of MLX as PEFT has them, and back, proven by the logits of both.

``names`` pairs the modules of the two networks, ``mlx_side`` and ``peft_side`` read and write a folder each, ``check`` loads
both and compares; ``command`` ties them together.
"""
