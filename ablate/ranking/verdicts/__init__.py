"""From effects to verdicts."""
