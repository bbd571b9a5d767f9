"""Adapters converted from MLX to PEFT and back, and checked by comparing the logits of both libraries.

``names`` pairs the modules of the two networks, ``mlx_side`` and ``peft_side`` each read and write a folder, ``check`` loads
and compares both, and ``convert`` is the whole conversion.
"""
