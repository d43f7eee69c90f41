"""Archives and compressed files: what is in them, and their bytes, within limits."""
