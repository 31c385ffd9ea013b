"""What the guard does with each call of the Engine API."""
