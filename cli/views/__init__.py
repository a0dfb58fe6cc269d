"""What a person reads after a command, and the JSON twins that are more than the answer of the library."""
