"""segments/explaining."""
