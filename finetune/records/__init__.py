"""The files between the stages: names, atomic writes, hashes, typed records."""
