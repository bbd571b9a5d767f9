"""python -m finetune: doctor, models, convert-adapter, completion, init.

One module, or one folder, per command.
"""
