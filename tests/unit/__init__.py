"""Tests that need no engine and do not sleep."""
