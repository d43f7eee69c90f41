"""What versions do beside answering: how a shadow would have answered, and how far rows are from those of training."""
