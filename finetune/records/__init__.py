"""The files between the stages: their names, atomic writes, hashes, and the typed records in them."""
