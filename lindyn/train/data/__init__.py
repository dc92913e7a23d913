"""Where a run's examples come from."""
