"""What tests make in a daemon: who made it, what is there, and its removal."""
