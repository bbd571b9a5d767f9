"""python -m finetune: init, doctor, models, convert-adapter, completion.

One module, or one folder, per command.
"""
