"""The experiments of the paper: one definition for each, as data, and one runner for all."""
