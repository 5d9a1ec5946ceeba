"""Pictures: overlays, montages, samples and curves."""
