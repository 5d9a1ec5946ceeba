"""The commands that share the queue of a folder of results."""
