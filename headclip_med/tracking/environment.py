"""What a run was computed with: versions, and the revision of a checkout."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import headclip_med

_LIBRARIES = ("torch", "torchvision", "monai", "open_clip_torch", "numpy", "mlflow")


@cache
def environment() -> dict[str, str]:
    """Name the versions that results depend on; nothing that tells whose machine it is."""
    found = {
        "version.headclip_med": headclip_med.__version__,
        "version.python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    for library in _LIBRARIES:
        try:
            found[f"version.{library}"] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def revision(package: Path = Path(headclip_med.__file__)) -> str | None:
    """Name the commit that this package's checkout is at, ``+changed`` where files differ from it.

    Args:
        package: A file of the package.

    Returns:
        None where the package is installed rather than checked out, or there is no git.
    """
    try:
        # A virtual environment may lie inside somebody else's repository.
        _git(package, "ls-files", "--error-unmatch", package.name)
        commit = _git(package, "rev-parse", "HEAD")
        changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changed" if changed else commit


def _git(package: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed words
        ["git", "-C", str(package.parent), *arguments],  # noqa: S607 - git from PATH, as users do
        capture_output=True, text=True, check=True, timeout=10,
    )  # fmt: skip
    return done.stdout.strip()
