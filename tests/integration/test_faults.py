"""What can't work: a clear error, soon, and nothing left."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from conftest import NESTED_IMAGE
from pytest_dind import Daemon
from pytest_dind.engine import images
from pytest_dind.engine.engine import Engine

from .conftest import DeriveImage, StartDaemon
from .projects import Project
from .traces import Traces

# What these tests look at is a daemon of the run's own: its container, or what is in it alone.
pytestmark = pytest.mark.requires_isolation

_TEST = "def test_it(dind_client): pass"
_SECONDS = 15
"""All of these are known within a second or two; this machine may be busy."""


def _error(
    project: Project,
    *options: str,
    env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
    seconds: float = _SECONDS,
) -> str:
    """What a test that can't have its daemon says, on one line."""
    project.write(_TEST)
    output = project.run(*options, env=env, before=before, code=1, seconds=seconds)
    assert "1 error in" in output
    lines = [line[1:] for line in output.splitlines() if line.startswith("E ")]
    return " ".join(" ".join(lines).split())


def test_no_engine(project: Project) -> None:
    """Where no engine is, the error says where it was looked for, and to start one."""
    text = _error(project, "--dind-host=unix:///nonexistent/docker.sock")

    assert "EngineUnavailable: The Docker engine at unix:///nonexistent/docker.sock" in text
    assert "There is no socket /nonexistent/docker.sock." in text
    assert "Start a Docker engine, or install one" in text


def test_no_right(project: Project, room: Path) -> None:
    """A user who may not use the engine's socket is told of the group."""
    path = room / "engine.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        engine.listen()
        path.chmod(0o000)
        project.write(_TEST)
        text = _error(project, f"--dind-host=unix://{path}", before=project.as_user())

    assert "EngineUnavailable: The Docker engine at unix://" in text
    assert f") may not write to the socket {path}." in text
    assert "sudo usermod -aG docker $USER" in text


def test_no_right_on_the_machines_engine(project: Project, engine: Engine) -> None:
    """The same on the real socket, where it is its group's alone and this user may be another."""
    path = Path(engine.url.removeprefix("unix://"))
    project.write(_TEST)
    before = project.as_user()
    private = not path.stat().st_mode & 0o006
    output = project.run(
        f"--dind-host={engine.url}", before=before, code=int(bool(before and private))
    )

    assert (f"may not write to the socket {path}." in output) == bool(before and private)


@pytest.mark.parametrize("option", ["--dind-mode=dnid", "--dind-timeout=0"])
def test_bad_value(project: Project, option: str) -> None:
    """A bad value is a usage error before anything is asked of the engine."""
    project.write(_TEST)
    output = project.run(option, code=int(pytest.ExitCode.USAGE_ERROR))

    assert "is not a valid value." in output
    assert "Valid: " in output


def test_missing_image(project: Project) -> None:
    """An image that neither engine nor registry has is an error with the registry's answer."""
    text = _error(project, "--dind-image=127.0.0.1:1/missing:none", seconds=40)

    assert "ImageUnavailable: The image '127.0.0.1:1/missing:none' is not on the outer" in text
    assert "connection refused" in text
    assert "docker build -t 127.0.0.1:1/missing:none ." in text


def test_missing_image_to_load(project: Project, traces: Traces) -> None:
    """An image to load that is missing is the same error, and the daemon does not stay."""
    text = _error(project, "--dind-load=127.0.0.1:1/missing:none", seconds=40)

    assert "ImageUnavailable: The image '127.0.0.1:1/missing:none' is not on the outer" in text
    traces.assert_nothing_left(seconds=1)


def test_image_without_dockerd(project: Project) -> None:
    """An image that is none for a daemon is told so at once."""
    text = _error(project, f"--dind-image={NESTED_IMAGE}")

    assert "ImageUnavailable: The daemon 'main'" in text
    assert f"image {NESTED_IMAGE}) cannot start: its image has no dockerd." in text
    assert "Name a Docker-in-Docker image: --dind-image docker:dind." in text


def test_image_without_a_shell(project: Project, engine: Engine) -> None:
    """An image that has not even a shell is told so too."""
    name = "pytest-dind/derived:empty"
    tar = b"\0" * 10240
    engine.client.api.import_image_from_data(tar, repository="pytest-dind/derived", tag="empty")
    try:
        text = _error(project, f"--dind-image={name}")
    finally:
        engine.client.images.remove(name)

    # In mode sysbox it is noticed before the daemon's container is made, by its lack of sh.
    assert "ImageUnavailable: The " in text
    assert 'exec: "dockerd"' in text or 'exec: "sh"' in text
    assert "Name a Docker-in-Docker image: --dind-image docker:dind." in text


def test_image_with_nothing_but_dockerd(
    project: Project, derive: DeriveImage, traces: Traces, mode: str
) -> None:
    """An image whose dockerd has no shell besides works; how it is removed then is said once."""
    if mode != "dind":
        pytest.skip("whether Sysbox works is found out by a shell")
    image = derive("rm -f $(which -a sh dash bash busybox)")
    project.write(
        """
        import pytest
        from pytest_dind import DindError

        def test_it(dind_daemon, dind_client):
            with pytest.raises(DindError, match="can't be restarted"):
                dind_daemon.restart()
            assert dind_client.ping()
            assert "API listen on" in dind_daemon.logs()
            assert dind_daemon.exit_code() is None

        def test_end(dind_daemon):
            dind_daemon.container.kill()
            assert dind_daemon.exit_code() == 137

        def test_lost(dind_client):
            pass
        """
    )
    output = project.run(f"--dind-image={image}", code=1)

    assert "2 passed, 1 error" in output
    assert "DaemonLost" in output
    assert output.count("dind: the image has no shell: the daemon ends with the run") == 1


def test_killed_run_of_an_image_without_a_shell(
    project: Project, derive: DeriveImage, traces: Traces, mode: str
) -> None:
    """Of a killed run the reaper removes the daemon, where nothing in its container can end it."""
    if mode != "dind":
        pytest.skip("whether Sysbox works is found out by a shell")
    image = derive("rm -f $(which -a sh dash bash busybox)")
    project.write("import os\ndef test_it(dind_client): os.kill(os.getpid(), 9)")
    project.run(f"--dind-image={image}", code=-9)
    traces.assert_nothing_left(seconds=3)


@pytest.mark.parametrize(
    ("argument", "evidence"),
    [
        ("--nonsense", "unknown flag: --nonsense"),
        ("--storage-driver=nonsense", "nonsense"),
        ("--bip=nonsense", "nonsense"),
    ],
)
def test_argument_that_dockerd_refuses(project: Project, argument: str, evidence: str) -> None:
    """A dockerd that ends at once is reported at once, with its code and its last words."""
    text = _error(project, f"--dind-arg={argument}", "--dind-timeout=59")

    assert "DaemonExited: The daemon 'main'" in text
    assert " ended with exit code 1" in text
    assert evidence in text.partition("Evidence:")[2].partition("To fix this")[0]
    assert "a --dind-arg that dockerd refuses is a usual cause" in text


def test_time_out(project: Project, slow_image: str) -> None:
    """A daemon that is not ready in time is an error after that time, and not much later."""
    # In mode sysbox the container proves what it is before it starts dockerd, within these.
    seconds = 3
    began = time.monotonic()
    text = _error(project, f"--dind-image={slow_image}", f"--dind-timeout={seconds}")

    assert seconds < time.monotonic() - began < seconds + 10
    assert "StartTimeout: The daemon 'main'" in text
    assert f" was not ready after {seconds} s." in text
    assert " starting To fix this" in text
    assert "Give it longer: --dind-timeout SECONDS." in text


@pytest.mark.dind_modes("dind")
def test_engine_that_refuses_privilege(
    project: Project, start: StartDaemon, derive: DeriveImage, engine: Engine
) -> None:
    """An engine that remaps user namespaces refuses a privileged container: mode dind says so."""
    image = derive("echo root:100000:65536 >/etc/subuid; cp /etc/subuid /etc/subgid")
    outer = start(image=image, arg=["--userns-remap=root"])
    with contextlib.closing(outer.daemon.client()) as client:
        images.ImageSource(engine.client, print).load(client, [NESTED_IMAGE])
        text = _error(
            project,
            f"--dind-host={outer.daemon.host}",
            f"--dind-image={NESTED_IMAGE}",
            "--dind-mode=dind",
            env={"TMPDIR": outer.shared_temp_dir()},
        )
        assert client.api.containers(all=True) == []

    assert "ModeUnavailable: The outer engine cannot start the daemon 'main'" in text
    assert "rivileged mode is incompatible with user namespaces" in text
    assert "Use an engine that allows --privileged: --dind-host HOST." in text


def test_published_port_that_is_taken(project: Project) -> None:
    """A port to publish that something else holds is an error that names the option."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = _error(project, f"--dind-publish={port}")

    assert "SettingsError: The outer engine cannot start the daemon 'main'" in text
    assert f"127.0.0.1:{port}" in text
    assert "Name another port: --dind-publish PORT." in text


def test_long_temp_dir(project: Project) -> None:
    """A temp dir too long for a socket is no error: a shorter one is used, and left clean."""
    project.write(
        """
        def test_it(dind_daemon, dind_client):
            assert dind_client.ping()
            with open("host", "w") as file:
                print(dind_daemon.host, file=file)
        """
    )
    long = project.temp / ("x" * 100)
    long.mkdir()
    project.run(env={"TMPDIR": str(long)})
    path = Path((project.path / "host").read_text().strip().removeprefix("unix://"))

    assert not list(long.glob("pytest-dind-*"))
    assert not path.is_relative_to(project.temp)
    assert not path.parent.parent.exists()


def test_temp_dir_of_others(project: Project) -> None:
    """A directory for sockets that others may enter is refused."""
    base = project.temp / f"pytest-dind-{os.getuid()}"
    base.mkdir()
    base.chmod(0o755)
    text = _error(project)
    base.rmdir()

    assert "cannot hold daemon sockets: it must be a directory that only this user can" in text
    assert "Set TMPDIR to a directory of your own." in text


@pytest.mark.dind_modes("dind")
def test_engine_in_a_container(project: Project, dind_daemon: Daemon, mode: str) -> None:
    """An engine that sees no directory is no obstacle, so the true cause of a failure is told."""
    project.write("raise ImportError('none')", "cryptography.py")
    text = _error(
        project,
        f"--dind-host={dind_daemon.host}",
        f"--dind-image={NESTED_IMAGE}",
        env={"PYTHONPATH": str(project.path)},
    )

    assert "ImageUnavailable: The daemon 'main' (mode dind, image" in text
    assert "No dockerd was found in the image" in text


def test_storage_driver_that_copies(project: Project) -> None:
    """A storage driver that copies whole layers works, with a warning that names a remedy."""
    project.write(_TEST)
    output = project.run(
        "--dind-arg=--storage-driver=vfs", "-W", "default::pytest_dind.DindWarning"
    )

    assert "1 passed, 1 warning" in output
    assert "uses the storage driver vfs, which copies each layer whole" in output


def test_every_test_says_why(project: Project) -> None:
    """Each test that can't have the daemon has the whole error; the start is tried but once."""
    project.write("def test_a(dind_client): pass\ndef test_b(dind_env): pass\ndef test_c(): pass")
    output = project.run("--dind-arg=--nonsense", code=1)

    assert "1 passed, 2 errors" in output
    assert output.count("unknown flag: --nonsense") == 2
    # It is raised below tenacity, whose lines are no more the test's than the plugin's own are.
    assert "tenacity" not in output
