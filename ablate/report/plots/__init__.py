"""Plots of the report, one file per question. Each function takes plain data and returns a `Picture`."""
