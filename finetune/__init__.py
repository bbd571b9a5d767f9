"""FineTune: fine-tune a small language model on a laptop and say, with evidence, whether it helped.

Four scripts at the root (dataset, train, test_finetuned, benchmark) call this package; files are all they share.
One folder per choice: tasks/ (--type), methods/ (--method), backends/ (--backend), rows/ and models/ (where rows and
weights come from). Modules that stand alone: cli (flags), config (the four configurations), artifacts (the files between
the stages), encoding and templates (text to tokens), sql/ (running untrusted SQL), evaluation, verdict, chat, speed and
report/ (what was found). Imports run downwards only; tests/test_architecture.py holds the order.
"""
