"""One test run, shared by its processes: its daemons, its mode, its end, and what runs left."""
