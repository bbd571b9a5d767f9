"""python -m finetune: init, doctor, models, export, convert-adapter, completion.

One module, or one folder, per command.
"""
