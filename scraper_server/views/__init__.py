"""Data sets made ready for learning: which columns and which rows, and what their values become."""
