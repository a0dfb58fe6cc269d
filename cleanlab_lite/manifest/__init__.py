"""What the user says: the manifest, how it is read and saved."""
