"""Test files that cases run under pytest; they write samples."""
