"""`nlclean review`: flagged rows one by one, decided by a person, in the terminal."""
