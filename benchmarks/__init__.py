"""What Flare's speed and memory are, each figure beside a reference of the same run."""
