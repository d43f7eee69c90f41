"""Data sets and their views: values, the stores that keep them, and the folders with their rows."""
