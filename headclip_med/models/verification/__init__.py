"""Are these the right weights, rightly run? Digests of published files, and drawn pictures."""
