"""The `flare` command: a file for each noun."""
