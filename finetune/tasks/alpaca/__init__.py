"""``--type alpaca``: an instruction to an answer."""
