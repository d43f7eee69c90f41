"""Loops that are no part of Flare, each a command of its own that prints rows a second."""
