"""FineTune: fine-tune a small language model on a laptop and say, with evidence, whether it helped.

Four scripts at the root call this package; files are all they share.

One folder per choice: tasks/ (--type), methods/ (--method), backends/ (--backend), rows/ and models/ (where rows and
weights come from). Text becomes tokens in encoding, rows become adapters in training, answers become scores in evaluation
and a word in verdict; sql/ runs untrusted SQL; report/ is the page. artifacts and run_record own the files, cli and config
the flags. Imports run downwards only; tests/test_architecture.py holds the order.
python -m finetune is what is around the scripts: doctor/, model_cache and adapter_conversion/.
"""

__version__ = "0.1.0"  # pyproject.toml says the same
