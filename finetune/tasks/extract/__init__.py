"""``--type extract``: a text in, a JSON object out, scored field by field."""
