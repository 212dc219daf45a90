"""Give independent random streams, one per purpose and key (a day, a script, a population).

A stream never depends on how much another one drew. That is why a longer run has the same first days, and why
switching duplicates on leaves the clean events as they were.

Not here: what is drawn from them.
"""

import numpy as np

# The position is part of the seed: only ever append.
_PURPOSES = (
    "traits",
    "signup",
    "clean",
    "campaigns",
    "aftermath",
    "script",
    "mobility",
    "attributes",
    "duplicates",
    "corrupt",
    "late",
    "catalogue",
)


def stream(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """Return the generator of one purpose and key."""
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(_PURPOSES.index(purpose), *key))
    return np.random.Generator(np.random.PCG64(sequence))
