"""What knows no file of the lake and no Dagster: settings, the calendar, table specs, numbers, words.

Not here: anything that reads or writes a day (`lake`).
"""
