"""A small suite of what everybody uses, to be run on several versions of Docker at once."""
