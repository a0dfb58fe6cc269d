"""Find wrong labels in image, sound and embedding datasets."""
