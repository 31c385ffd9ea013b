"""Directories, locks and files that can't be used: a clear error, soon, and nothing left."""

from __future__ import annotations

import os

import pytest

from pytest_dind.engine.engine import Engine

from .projects import Project
from .traces import Traces

_TEST = "def test_it(dind_client): assert dind_client.ping()"
_SECONDS = 20


def _error(output: str) -> str:
    """The errors of a run, on one line."""
    lines = [line[1:] for line in output.splitlines() if line.startswith("E ")]
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("options", [[], ["-n2"]])
def test_lock_that_nobody_can_write(project: Project, options: list[str]) -> None:
    """A lock file that this user may not write is an error, not a wait; others' tests run."""
    project.write(_TEST)
    project.write("def test_other(): pass", "test_other.py")
    base = project.temp / f"pytest-dind-{os.getuid()}"
    before = project.as_user()
    if before:
        owner = project.temp.stat().st_uid
        base = project.temp / f"pytest-dind-{owner}"
    base.mkdir(mode=0o700)
    (base / "base.lock").touch(mode=0o400)
    if before:
        # The directory is the user's, the file in it is not.
        os.chown(base, owner, owner)
    output = project.run(*options, before=before, code=1, seconds=_SECONDS)

    assert "1 passed, 1 error" in output
    text = _error(output)
    assert f"SettingsError: {base}/base.lock, which daemons of this user need, cannot be" in text
    assert "Permission denied" in text
    assert "Set TMPDIR to another directory." in text


# Fills the small file system that is mounted there, and nothing else.
_FILL = """
    import errno, os, tempfile

    # Python looks for a temp dir that can be written, once. Under xdist, pytest itself needs it.
    tempfile.gettempdir()
    full = os.environ["TMPDIR"]
    if "PYTEST_XDIST_WORKER" in os.environ or not {workers}:
        try:
            for number in range(200):
                name = os.path.join(full, f"{{os.getpid()}}-{{number}}")
                with open(name, "wb", buffering=0) as rest:
                    rest.write(bytes({size}))
        except OSError as error:
            assert error.errno == errno.ENOSPC
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a file system")
@pytest.mark.parametrize("options", [[], ["-n2"]])
@pytest.mark.parametrize("size", ["nr_inodes=60", "size=128k"])
def test_full_temp_dir(project: Project, size: str, options: list[str]) -> None:
    """A temp dir that fills up is an error that names it, and what to do."""
    mount = f'mount -t tmpfs -o {size} tmpfs "$TMPDIR" && exec "$@"'
    bytes_each = 0 if size.startswith("nr_inodes") else 4096
    project.write(_FILL.format(size=bytes_each, workers=bool(options)), "conftest.py")
    project.write(_TEST)
    before = ["unshare", "-m", "--propagation=private", "sh", "-c", mount, "sh"]
    output = project.run(*options, before=before, code=1, seconds=_SECONDS)

    assert "1 error" in output, output
    text = _error(output)
    assert f"SettingsError: {project.temp}/pytest-dind-" in text
    assert "No space left on device" in text
    assert "Make room or give write access there." in text


@pytest.mark.parametrize("options", [[], ["-n2"]])
def test_no_fifos(project: Project, traces: Traces, options: list[str]) -> None:
    """A temp dir on a file system without FIFOs is an error that says so; nothing is left."""
    project.write(
        """
        import errno, os

        def mkfifo(path, mode=0o666):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))

        os.mkfifo = mkfifo
        """,
        "conftest.py",
    )
    project.write(_TEST)
    output = project.run(*options, code=1, seconds=_SECONDS)

    assert "1 error" in output, output
    text = _error(output)
    assert "/lease, which daemons of this user need, cannot be written." in text
    assert "Operation not permitted" in text
    assert "Set TMPDIR to another directory." in text
    traces.assert_nothing_left(seconds=2)


@pytest.mark.requires_isolation
def test_corrupt_state(project: Project, traces: Traces, engine: Engine) -> None:
    """A worker that cannot read the state starts the daemon anew, and touches no other run's."""
    project.write(_TEST)
    # As short as the room is long: with a longer path its runs would be in /tmp.
    neighbour = project.temp / "n"
    neighbour.mkdir()
    kept = project.run("--dind-keep=always", env={"TMPDIR": str(neighbour)})
    assert "dind: kept" in kept
    (daemon,) = traces.containers()
    project.write(
        """
        import pytest
        from pytest_dind.backends import records

        if "PYTEST_XDIST_WORKER" in __import__("os").environ:
            write = records.write

            def corrupt(record, settings):
                write(record, settings)
                (record.home.path / "state.json").write_text("{")

            records.write = corrupt
        """,
        "conftest.py",
    )
    project.run("-n2", seconds=_SECONDS)
    assert traces.containers() == [daemon]
    engine.client.api.remove_container(daemon, force=True, v=True)
    for path in [path for path in neighbour.glob("pytest-dind-*/*") if path.is_dir()]:
        for file in sorted(path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        path.rmdir()
