"""The engine's objects: which are the run's own, by their labels and by the guard's journal."""
