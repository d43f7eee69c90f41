"""Where data sets are found: a port, and a module for each place."""
