"""The rules of the guard: pure checks of calls and their bodies, which ask no engine."""
