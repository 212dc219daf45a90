"""Fitting: from a frame of profiles to a model that is named, measured and judged."""
