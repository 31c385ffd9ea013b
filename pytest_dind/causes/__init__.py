"""Known causes: what daemons, engines, runtimes and registries say, what it means, what to do."""

from .explanation import cause_of, explain, explained

__all__ = ["cause_of", "explain", "explained"]
