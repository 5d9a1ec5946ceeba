"""Strangers' bytes are parsed and decoded in processes of their own, which may be lost."""

from headclip_med.read.isolation.reader import isolated_each, isolated_reading

__all__ = ["isolated_each", "isolated_reading"]
