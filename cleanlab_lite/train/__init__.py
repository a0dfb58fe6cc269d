"""Networks that are trained to be watched: all that needs torch. Nothing is imported here."""
