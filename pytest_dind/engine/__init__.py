"""The outer engine's client: the engine, its containers and images, and connections to both."""
