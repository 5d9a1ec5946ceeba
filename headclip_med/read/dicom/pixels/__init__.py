"""Pixel data: how it is coded and laid out, and the physical values that it stands for."""
