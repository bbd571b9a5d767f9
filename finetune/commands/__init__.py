"""python -m finetune: doctor, models, convert-adapter, completion.

One module, or one folder, per command.
"""
