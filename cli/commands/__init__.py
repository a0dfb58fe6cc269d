"""One module per command; each holds a click command called `command`, a thin twin of a public function."""
