"""Copies among the rows, and between splits."""

from cleanlab_lite.copies.find import Duplicates, find_copies

__all__ = ["Duplicates", "find_copies"]
