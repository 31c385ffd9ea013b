"""Images of several kinds as the daemon's."""

from __future__ import annotations

import contextlib
import shlex
import subprocess

import pytest

from pytest_dind import Daemon

from ..support import until
from .conftest import DeriveImage, StartDaemon
from .traces import Traces

_ENTRYPOINT = """#!/bin/sh
echo "$@" >/run/entrypoint-ran
exec "$@"
"""


def _answers(daemon: Daemon) -> bool:
    with contextlib.closing(daemon.client()) as client:
        return bool(client.ping()) and client.info()["ServerVersion"] == daemon.version


@pytest.mark.requires_isolation
def test_entrypoint_is_kept(start: StartDaemon, derive: DeriveImage) -> None:
    """An image's own entrypoint runs, with dockerd as its command, as in the official image."""
    image = derive(
        f"printf %s {shlex.quote(_ENTRYPOINT)} >/usr/local/bin/dockerd-entrypoint.sh; "
        "chmod +x /usr/local/bin/dockerd-entrypoint.sh",
        'ENTRYPOINT ["dockerd-entrypoint.sh"]',
        'CMD ["--ignored"]',
    )
    daemon = start(image=image).daemon
    ran = daemon.exec(["cat", "/run/entrypoint-ran"]).stdout

    assert ran.startswith("dockerd --host=unix:///run/pytest-dind/docker.sock ")
    assert "--ignored" not in ran
    assert _answers(daemon)


@pytest.mark.parametrize("dockerd", ["dockerd", "/usr/sbin/dockerd"])
def test_entrypoint_that_is_dockerd(start: StartDaemon, derive: DeriveImage, dockerd: str) -> None:
    """An image whose entrypoint is dockerd itself works as one without."""
    assert _answers(start(image=derive("true", f'ENTRYPOINT ["{dockerd}"]')).daemon)


def test_busybox_shell(start: StartDaemon, derive: DeriveImage, traces: Traces) -> None:
    """Where sh is busybox's, as in the official image, all of it works, the lease included."""
    started = start(image=derive("ln -sf /bin/busybox /bin/sh"))
    assert "BusyBox" in started.daemon.exec(["sh", "--help"]).stdout
    assert _answers(started.daemon)
    with pytest.raises(subprocess.TimeoutExpired):
        started.daemon.exec(["sleep", "60"], timeout=0.5)

    started.lease.release()
    until(lambda: not traces.containers(), 3, "the container is gone with its last user")


def test_image_with_a_user_and_a_directory(start: StartDaemon, derive: DeriveImage) -> None:
    """An image's own user, directory and volumes don't get in the way, and leave nothing."""
    image = derive("mkdir /work", "USER 1000", "WORKDIR /work", "VOLUME /more", "ENV MINE=1")
    started = start(image=image)

    shown = started.daemon.exec(["sh", "-c", "id -u; pwd; echo $MINE"]).stdout
    assert shown == "0\n/work\n1\n"
    assert _answers(started.daemon)
