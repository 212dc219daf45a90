"""segments/daily."""
