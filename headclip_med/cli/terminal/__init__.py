"""What a person at a terminal sees beside results: sentences, how far it is, and drawn tables."""
