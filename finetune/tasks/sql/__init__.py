"""``--type sql``: a question about tables to one SQLite query, judged by running it."""
