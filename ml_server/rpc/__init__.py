"""Between the contracts and the domain of the ml service."""
