"""What models say of labelled images, kept on disk, measured, and put into tables."""
