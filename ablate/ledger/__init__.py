"""The single source of truth about runs: one SQLite file per study, one driver, a lock."""
