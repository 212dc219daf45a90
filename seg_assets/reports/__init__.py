"""Pages that a marketer can read."""
