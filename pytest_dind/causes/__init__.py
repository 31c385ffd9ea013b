"""Known causes: what daemons, engines, runtimes and registries say, what it means, what to do."""

from .cause import Cause
from .explanation import cause_of, explain, explained

__all__ = ["Cause", "cause_of", "explain", "explained"]
