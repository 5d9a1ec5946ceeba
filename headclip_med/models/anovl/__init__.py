"""AnoVL: an ensemble of sentences, value-value heads and views; no training."""
