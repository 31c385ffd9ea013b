"""The tests: unit, plugin (pytester) and integration (a real engine)."""
