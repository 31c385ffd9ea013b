"""What a test holds: the daemon's handle, addresses of its containers, commands in it."""
