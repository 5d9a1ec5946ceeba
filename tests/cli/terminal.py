"""A terminal of a given width that a command runs in, and what it shows there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from pathlib import Path
from subprocess import Popen

ROOT = Path(__file__).parents[2]
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(
    arguments: list[str], *, columns: int = 100, folder: Path = ROOT, **environment: str
) -> tuple[str, int]:
    """Run a command in a terminal; give all that it shows there, and the exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    own = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    with Popen(
        [sys.executable, "-m", "headclip_med", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, close_fds=True,
        env={**own, "TERM": "xterm", "PYTHONPATH": str(ROOT), **environment},
    ) as running:  # fmt: skip
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        os.close(ours)
    return shown.decode().replace("\r\n", "\n"), running.returncode


def plain(shown: str) -> str:
    """Leave out what only colours or moves, and what was written over."""
    lines = CONTROL.sub("", shown).split("\n")
    return "\n".join(line.rpartition("\r")[2] for line in lines)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so where the last writer is gone
        return b""
