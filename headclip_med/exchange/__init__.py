"""Voxels that a program gives and takes: arrays, and the objects of other libraries."""

from headclip_med.exchange.arrays import plain_voxels, spaced_grid

__all__ = ["plain_voxels", "spaced_grid"]
