"""Commands around the four scripts: ``python -m finetune NAME``. One module, or one folder, per command."""
