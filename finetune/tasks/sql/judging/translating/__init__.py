"""Translates statements of other dialects into SQLite, in a process of its own: exactly, or not at all."""
