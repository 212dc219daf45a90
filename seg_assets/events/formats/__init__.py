"""events/formats."""
