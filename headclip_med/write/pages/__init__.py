"""HTML pages, each in one file; no script runs in them but our own."""
