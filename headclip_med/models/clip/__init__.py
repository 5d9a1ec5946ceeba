"""CLIP's two towers: built from open_clip, open at every block, weights from any layout."""
