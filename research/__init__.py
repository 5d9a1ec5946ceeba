"""How what travels with the package was made; not installed."""
