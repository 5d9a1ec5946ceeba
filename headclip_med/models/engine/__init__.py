"""How a pass of an image tower is executed, and in what precision."""
