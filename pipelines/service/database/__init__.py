"""The database of a folder of results: its tables, and how it is opened."""
