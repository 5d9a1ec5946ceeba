"""Who does the work: an executor has slots, each with a warm model."""
