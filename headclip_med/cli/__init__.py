"""The command line: ``headclip``. Results go to stdout, progress and messages to stderr.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 some inputs of several failed.
"""

from headclip_med.cli.main import main

__all__ = ["main"]
