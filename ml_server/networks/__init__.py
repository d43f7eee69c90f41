"""Networks: what they are made of, how they are built, checked, saved and loaded."""
