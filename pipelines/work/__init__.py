"""One study from its files to its result: what is asked, who builds, what comes of it."""
