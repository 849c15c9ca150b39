"""The single source of truth about runs: one SQLite file per study, with one writer."""
