"""AnomalyCLIP: learned object-agnostic prompts and value-value heads."""
