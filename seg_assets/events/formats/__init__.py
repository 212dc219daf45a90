"""Parse files into records: a module for each format, and what they share."""
