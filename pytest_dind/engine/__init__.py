"""The outer engine's client: the engine itself, its images and containers, and the ways to it."""
