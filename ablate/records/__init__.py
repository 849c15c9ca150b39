"""Frozen dataclasses: tricks, recipes, runs, study files, errors. Imports only the standard library."""
