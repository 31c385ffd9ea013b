"""A test run, shared by its processes: its daemons, its modes, its end, and the sweep."""
