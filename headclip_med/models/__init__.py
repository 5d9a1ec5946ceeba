"""Anomaly models behind one seam, on one pair of frozen CLIP towers."""
