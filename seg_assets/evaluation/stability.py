"""Hennig's bands and the stability of segments, as evaluation and reports speak of them; measured in `segments`."""

from seg_assets.segments.stability import (
    BANDS,
    REPLICATIONS,
    STABILITY_SAMPLE,
    TRUSTED,
    Stability,
    band,
    bootstrap_stability,
    measure,
    quick,
)

__all__ = [
    "BANDS",
    "REPLICATIONS",
    "STABILITY_SAMPLE",
    "TRUSTED",
    "Stability",
    "band",
    "bootstrap_stability",
    "measure",
    "quick",
]
