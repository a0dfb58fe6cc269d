"""A run as a page: one file, offline."""
