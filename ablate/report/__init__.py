"""The report: a ledger in, one offline page and its data files out. Start at `build.py`."""
