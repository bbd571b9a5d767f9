"""One module for each format of rows: a part of a source in, rows one by one out."""
