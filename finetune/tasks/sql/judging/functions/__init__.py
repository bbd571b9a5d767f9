"""Functions of other dialects, for the process that runs translated SQL."""
