"""What training saw, what the user brings, what people decided."""
