"""FineTune: fine-tune a small language model with LoRA and measure, with evidence, whether it got better.

Four scripts at the root call this package; files are the only thing that passes between them. A script has a folder
(dataset, training, evaluation, benchmark), a flag that takes a name has a folder (tasks, methods, backends, models), and the
rest supports them. The README has a map of all rooms; imports run strictly downwards, and tests/test_architecture.py holds
the order.
"""

__version__ = "0.1.0"  # pyproject.toml has the same version
