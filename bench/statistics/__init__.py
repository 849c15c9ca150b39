"""The ranking's statistics, validated by simulation: `python -m bench.statistics`."""
