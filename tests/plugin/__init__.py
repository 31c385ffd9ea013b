"""Tests of the plugin in pytest runs of its own, without an engine."""
