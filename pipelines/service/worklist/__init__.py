"""What people and machines see of the work: a page, exports, and numbers to watch."""
