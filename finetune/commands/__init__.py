"""python -m finetune: init, doctor, models, fuse, convert-adapter, completion.

One module, or one folder, per command.
"""
