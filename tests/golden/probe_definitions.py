"""Run in a child, never imported: print what Dagster knows of `seg_assets.definitions`, by Dagster's own interface."""

import importlib
import json
import warnings

warnings.simplefilter("ignore")
defs = importlib.import_module("seg_assets.definitions").defs


def _name(key: object) -> str:
    return key.to_user_string()


def _mapping(dep: object) -> str:
    mapping = dep.partition_mapping
    if mapping is None:
        return ""
    offsets = [str(getattr(mapping, side)) for side in ("start_offset", "end_offset") if hasattr(mapping, side)]
    return f"[{type(mapping).__name__}{' ' if offsets else ''}{'..'.join(offsets)}]"


def _partition(definition: object) -> str:
    return "none" if definition is None else str(definition)


graph = defs.resolve_asset_graph()
repository = defs.get_repository_def()
rows = {}
for spec in defs.resolve_all_asset_specs():
    rows[f"asset {_name(spec.key)}"] = {
        "group": spec.group_name,
        "partition": _partition(spec.partitions_def),
        "kinds": ",".join(sorted(spec.kinds)),
        "owners": ",".join(sorted(spec.owners)),
        "deps": ", ".join(sorted(_name(dep.asset_key) + _mapping(dep) for dep in spec.deps)) or "none",
    }
for key in graph.asset_check_keys:
    spec = graph.get_check_spec(key)
    rows[f"check {_name(key.asset_key)} {key.name}"] = {"blocking": "yes" if spec.blocking else "no"}
for name in repository.job_names:
    if not name.startswith("__"):
        job = repository.get_job(name)
        selected = sorted(_name(key) for key in job.asset_layer.selected_asset_keys)
        rows[f"job {name}"] = {"partition": _partition(job.partitions_def), "assets": ", ".join(selected)}
for schedule in repository.schedule_defs:
    rows[f"schedule {schedule.name}"] = {
        "cron": schedule.cron_schedule,
        "zone": schedule.execution_timezone,
        "job": schedule.job_name,
        "status": schedule.default_status.value,
    }
for sensor in repository.sensor_defs:
    rows[f"sensor {sensor.name}"] = {
        "jobs": ", ".join(sorted(job.name for job in sensor.jobs)),
        "status": sensor.default_status.value,
        "seconds": sensor.minimum_interval_seconds,
    }
print(json.dumps(rows))
