"""Explain one user: why this segment, what brought them, what would move them, in words."""
