"""The handle on a daemon: its clients, addresses of nested containers, commands, its loss."""
