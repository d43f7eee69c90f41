"""Archives of images as tables: which images there are, what is known of each, and their pixels."""
