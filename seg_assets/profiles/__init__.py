"""The dbt project as Dagster assets: events to daily user activity to user profiles."""
