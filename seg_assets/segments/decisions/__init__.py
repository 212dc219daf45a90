"""Decisions: what is due on a day, what it is made from, the champion of each day, and rollbacks."""
