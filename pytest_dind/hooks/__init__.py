"""pytest's side of a run that has a daemon: its life, markers, leaks, terminal, tracebacks."""
