"""Which runs are made."""
