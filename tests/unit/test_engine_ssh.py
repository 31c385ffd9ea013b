"""The way to an engine by ssh, as far as it goes without a server."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from pytest_dind import EngineUnavailable
from pytest_dind.engine.ssh import Tunnel


def test_long_temp_dir(tmp_path: Path, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the temp dir's path is too long for a unix socket, the tunnel's is in a short one."""
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    program = short_path / "ssh"
    program.write_text('#!/bin/sh\necho "$*" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(short_path), prepend=":")

    with pytest.raises(EngineUnavailable) as caught:
        Tunnel("ssh://engine")

    forward = re.search(r"-L (\S+):/var/run/docker.sock", caught.value.evidence)
    assert forward is not None
    assert len(forward[1]) < 104
