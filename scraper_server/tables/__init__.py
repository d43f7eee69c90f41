"""Files read into tables: their format, their types, and what is known about their columns."""
