"""Examples of tools that follow the daemon's environment."""
