"""Strategies, clustering, permanent identity, and the daily segment tables."""
