"""Hypothesis for all unit tests: how fast the machine is at the moment is not what they test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Other tests run beside one, so that drawing an example takes what the machine has left.
settings.register_profile(
    "beside others", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# For `run -e mutation`: the same examples for each mutant, and few, since they run for thousands.
settings.register_profile(
    "mutation", settings.get_profile("beside others"), max_examples=20, derandomize=True
)
settings.load_profile("beside others")
