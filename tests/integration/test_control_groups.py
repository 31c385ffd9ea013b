"""Whether a container may make control groups, as a daemon in it has to, is tried there."""

from __future__ import annotations

import pytest

from conftest import DAEMON_IMAGE
from pytest_dind.backends import rootless
from pytest_dind.engine import containers
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import layout

# The hierarchies of v1 are apart, and that of v2 is one.
pytestmark = pytest.mark.cgroups

_LEFT = "find /sys/fs/cgroup -name pytest-dind"


@pytest.mark.parametrize("privileged", [True, False])
def test_trial(engine: Engine, privileged: bool) -> None:
    """It shows whether a container may, says why not, and leaves nothing behind."""
    command = f"{containers.script(rootless.SCRIPT)}\ndivides && echo made; {_LEFT}"
    output = engine.client.containers.run(
        DAEMON_IMAGE,
        entrypoint=["sh", "-c", command],
        privileged=privileged,
        # In place of the image's volume, which docker-py's `remove` leaves.
        tmpfs={layout.DATA_ROOT: ""},
        remove=True,
        stderr=True,
    ).decode()
    if privileged:
        assert output == "made\n"
    else:
        # With v2 a container's own are read-only, and with v1 too.
        assert output.startswith("mkdir: ")
        assert "Read-only file system" in output
        assert "made" not in output
