"""What computes a network when it predicts."""
