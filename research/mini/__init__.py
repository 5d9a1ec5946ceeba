"""How headclip-mini is made: its procedural corpus, its pretraining, and what is learned on it."""
