"""Copies among the rows, and between splits."""

from cleanlab_lite.duplicates.copies import Duplicates, find_copies

__all__ = ["Duplicates", "find_copies"]
