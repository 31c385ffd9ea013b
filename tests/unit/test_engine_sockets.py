"""Whether the server of a unix socket is in this process's network namespace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dind.engine import sockets

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has namespaces")

# In a user namespace of its own, which whoever isn't root may make too.
_SERVE = (
    "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); "
    "print('ready', flush=True); sys.stdin.read()"
)


def test_server_here(short_path: Path) -> None:
    """It listens here, under whatever name; a file that nobody listens on any more does not."""
    path = short_path / "s"
    (short_path / "link").symlink_to(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert sockets.listens_here(str(path)) is False
        server.listen()
        assert sockets.listens_here(str(path)) is True
        assert sockets.listens_here(str(short_path / "link")) is True
    assert sockets.listens_here(str(path)) is False
    assert sockets.listens_here(str(short_path / "none")) is None


def test_server_elsewhere(short_path: Path) -> None:
    """A server of another network namespace does not listen here, though it can be reached."""
    path = short_path / "s"
    own = ["unshare", "--net", *([] if os.getuid() == 0 else ["--map-root-user"])]
    command = [*own, sys.executable, "-c", _SERVE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert sockets.listens_here(str(path)) is False
        assert server.stdin is not None
        server.stdin.close()


def test_system_that_does_not_tell(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel is not asked, or refuses, nothing is known."""
    path = short_path / "s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with monkeypatch.context() as patched:
            # A protocol of netlink that no kernel has.
            patched.setattr(sockets, "_SOCK_DIAG", 31)
            assert sockets.listens_here(str(path)) is None
        with monkeypatch.context() as patched:
            # A family of sockets that can't be asked for.
            patched.setattr(sockets, "_SOCK_DIAG_BY_FAMILY", 19)
            assert sockets.listens_here(str(path)) is None
        monkeypatch.delattr(socket, "AF_NETLINK")
        assert sockets.listens_here(str(path)) is None
