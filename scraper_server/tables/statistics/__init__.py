"""What is known about the values of a table, found out in one pass over its rows and in bounded memory."""
