"""Simulate a seeded shop with planted truth, written as landing files day by day. Not here: Dagster, or any clock."""

from seg_assets.simulator.config import SimulationConfig, scenario_names
from seg_assets.simulator.engine import simulate
from seg_assets.simulator.landing import copy_day, deliver_late
from seg_assets.simulator.truth import Truth

__all__ = ["SimulationConfig", "Truth", "copy_day", "deliver_late", "scenario_names", "simulate"]
