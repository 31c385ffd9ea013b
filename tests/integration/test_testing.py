"""Daemons without pytest: `pytest_dind.testing`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from conftest import DAEMON_IMAGE

from .projects import Project
from .traces import Traces

_SUITE = """
    import sys
    import unittest

    from pytest_dind import DindError, testing

    MODE, IMAGE = sys.argv[1:]


    class TestDaemon(unittest.TestCase):
        def test_daemon(self):
            lines = []
            with testing.daemon(mode=MODE, image=IMAGE, progress=lines.append) as daemon:
                client = daemon.client()
                assert client.ping()
                client.close()
                assert daemon.mode == MODE
            with self.assertRaises(DindError):
                daemon.exec(["true"])

        def test_factory(self):
            with testing.factory(mode=MODE, image=IMAGE) as start:
                one = start("one", args=["--label=mine=yes"])
                assert "mine=yes" in one.exec(["docker", "info"]).stdout
                raise unittest.SkipTest("the block ends so, too")


    unittest.main(argv=["suite"])
"""


@pytest.mark.requires_isolation
def test_unittest(project: Project, traces: Traces, mode: str) -> None:
    """A suite of unittest has daemons, each for as long as its block lasts; nothing is left."""
    project.write(_SUITE, "suite.py")
    done = subprocess.run(
        [sys.executable, "-W", "error", "suite.py", mode, DAEMON_IMAGE],
        cwd=project.path,
        env={**os.environ, "TMPDIR": str(project.temp)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Ran 2 tests" in done.stderr, done.stderr
    assert "OK (skipped=1)" in done.stderr
    traces.assert_nothing_left()
