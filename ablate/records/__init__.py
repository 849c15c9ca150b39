"""Plain frozen records: tricks, recipes, runs, study files, errors. Imports nothing heavy."""
