"""segments/fitting."""
