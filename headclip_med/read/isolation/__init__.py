"""Strangers' bytes are parsed and decoded in processes of their own, which may be lost."""

from headclip_med.read.isolation.reader import isolated_each, isolated_reading
from headclip_med.read.isolation.task import RemoteFunction

__all__ = ["RemoteFunction", "isolated_each", "isolated_reading"]
