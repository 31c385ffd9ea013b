"""The ways to make a daemon, one module for each mode, and what they share."""
