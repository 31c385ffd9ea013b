"""Tests of README and docs/: whatever they say that can be checked."""
