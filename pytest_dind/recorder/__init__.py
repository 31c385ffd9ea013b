"""A recorder of what happens in a daemon, and the texts that a failed test's report has of it."""
