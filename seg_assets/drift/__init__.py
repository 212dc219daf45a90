"""Evidently report to verdict to re-clustering decision, and the sensor that closes the loop."""
