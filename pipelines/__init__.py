"""What the command line, the bundle and services run: the library's steps in order."""
