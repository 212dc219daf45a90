"""How fast, side by side: one day of a simulated shop by seg-assets, by hand in DuckDB, by pandas and by polars."""
