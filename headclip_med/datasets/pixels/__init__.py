"""The pixels of one image of a set, of its mask, and what is doubtful about them."""
