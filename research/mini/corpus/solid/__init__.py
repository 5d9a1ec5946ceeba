"""Heads as solids in millimetres, cut into slices."""
