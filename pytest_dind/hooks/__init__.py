"""The pytest side of a run that has a daemon."""
