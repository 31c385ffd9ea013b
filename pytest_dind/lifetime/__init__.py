"""Who uses a daemon, and what ends it: directories, leases, labels, the reaper."""
