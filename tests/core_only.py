"""Screen a photo with the libraries of all extras hidden: what the package's core does alone.

``make wheel`` runs this on the installed wheel; the argument is a folder to write to.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from headclip_med.cli import main
from headclip_med.errors import EXTRAS


def said(*arguments: str) -> tuple[int, str]:
    """Run a command; give its exit code and what it told on stderr."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    return code, told.getvalue()


def run(folder: Path) -> None:
    """Screen, then ask for what only the extras can do."""
    sys.modules.update(dict.fromkeys(EXTRAS))  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    Image.fromarray(pixels[..., 0]).save(folder / "good.png")
    screen = ("screen", str(folder / "photo.png"), "--out", str(folder / "out"), "--quiet")
    assert said(*screen) == (0, "")
    assert (folder / "out/index.html").is_file()
    wanted = {
        "tracking": ("evaluate", "--acceptance"),
        "bundle": ("bundle", "verify", str(folder)),
        "train": ("experiment", "lhw", "--no-tracking"),
    }
    for extra, arguments in wanted.items():
        code, told = said(*arguments)
        assert code == 1, told
        assert told.count("\n") == 1
        assert f"pip install 'headclip-med[{extra}]'" in told, told


if __name__ == "__main__":
    run(Path(sys.argv[1]))
