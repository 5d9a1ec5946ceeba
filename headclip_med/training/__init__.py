"""Training: HeadCLIP on a frozen backbone, and the embedded backbone itself."""
