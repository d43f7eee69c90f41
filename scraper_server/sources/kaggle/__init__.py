"""kaggle.com as a source, through the `kaggle` package. Importing this imports nothing of that package."""
