"""Private folders for what is unpacked, gone with this process, whatever ends it."""

from __future__ import annotations

import atexit
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

GUARDIAN = "import shutil,sys;sys.stdin.read();shutil.rmtree(sys.argv[1],True)"
"""Waits until this process is gone (its end of the pipe is closed then), and removes the folder."""


def private_folder() -> Path:
    """Make a new empty folder that nobody else may enter.

    It lies in the system's folder for temporary files (``TMPDIR``) until this process ends.
    """
    return Path(tempfile.mkdtemp(dir=_root()))


@cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="headclip-"))
    guardian = subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-I", "-S", "-c", GUARDIAN, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what interrupts this process must not stop it
    )
    atexit.register(guardian.communicate)
    return root
