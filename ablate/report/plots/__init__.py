"""Plots of the report, one file a question. Each function takes plain data and returns a `Picture`."""
