"""Measurements that write parts of the docs. Outside the wheel; not here: speed, which `benchmarks` measure."""
