"""What the Dagster faces of the rooms share: assets, partitions, runs, tags, the instance.

Not here: the faces themselves, and anything that computes.
"""
