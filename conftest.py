"""What all tests share: the images that `tools/engine.py images` makes sure of."""

from __future__ import annotations

pytest_plugins = ["pytester"]

DAEMON_IMAGE = "pytest-dind/daemon:test"
NESTED_IMAGE = "pytest-dind/nested:test"
