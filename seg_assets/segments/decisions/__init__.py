"""segments/decisions."""
