"""Hypothesis for all unit tests: how fast the machine is at the moment is not what they test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Other tests run beside one, so that drawing an example takes what the machine has left.
settings.register_profile(
    "beside others", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("beside others")
