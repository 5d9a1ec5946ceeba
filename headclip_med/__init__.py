"""Zero-shot lesion screening of medical images with HeadCLIP on MONAI. Research use only.

from headclip_med import load_model, screen
screening = screen("study/", load_model("headclip-mini"))
screening.save("results")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headclip_med.findings import Screening
    from headclip_med.pipelines.loading import load_model
    from headclip_med.pipelines.screen import screen
    from headclip_med.read import read_volume
    from headclip_med.volume import Volume

__version__ = "0.1.0"
__all__ = ["Screening", "Volume", "__version__", "load_model", "read_volume", "screen"]

# Looked up on first use: importing this package must not cost the seconds that torch takes.
_HOMES = {
    "Screening": "headclip_med.findings",
    "Volume": "headclip_med.volume",
    "load_model": "headclip_med.pipelines.loading",
    "read_volume": "headclip_med.read",
    "screen": "headclip_med.pipelines.screen",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'headclip_med' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
