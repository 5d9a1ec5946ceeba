"""WinCLIP: an ensemble of sentences and windows of patches; no training."""
