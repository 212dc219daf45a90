"""Turn landing files into tables of the event contract: events, rejected lines, files, users and products."""
