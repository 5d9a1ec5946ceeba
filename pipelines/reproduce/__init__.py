"""Reproduce the paper in one go that can be stopped: stage after stage, each leaving its facts."""
