"""The bundle's folder, as it travels with the package."""

from __future__ import annotations

from headclip_med.models.backbones import EMBEDDED_PATH

BUNDLE = EMBEDDED_PATH.parents[1]
"""The folder with ``configs``, ``models`` and ``docs``."""

CONFIGS = BUNDLE / "configs"
