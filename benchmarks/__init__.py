"""Benchmarks: the plugin against what it could cost at the least, in one run on one machine."""
