"""Pictures and volumes made from nothing but numbers: training corpus, phantoms, demonstration."""
