"""The real engine, the modes, and what tests on them start: daemons, projects, derived images."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import DindError, Settings
from pytest_dind.backends.registry import Probe, backend, check
from pytest_dind.daemon import building
from pytest_dind.daemon.handle import Daemon
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime.layout import LEASE, Home
from pytest_dind.lifetime.lease import Lease
from pytest_dind.options import from_config
from pytest_dind.settings import AUTO
from pytest_dind.store.seeding import Origin

from .. import rooms
from .guarded import Crowd
from .other import OtherHost, other_host
from .projects import Project
from .traces import Traces

engine, room, traces = rooms.engine, rooms.room, rooms.traces


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a daemon, by whatever fixture, in the modes under test.

    These are mode dind, or the one that this run is told: `pytest tests/integration --dind-mode
    sysbox` runs all the same tests on Sysbox. Those that need Sysbox run on it wherever it is, and
    those that are marked `sysbox_too` do so besides.
    """
    if "mode" in metafunc.fixturenames:
        asked = from_config(metafunc.config).mode
        modes = [asked]
        if asked == AUTO:
            needs, too = map(
                metafunc.definition.get_closest_marker, ("requires_sysbox", "sysbox_too")
            )
            modes = [] if needs else ["dind"]
            modes += ["sysbox"] if (needs or too) and has_sysbox() else []
        metafunc.parametrize("mode", modes or ["dind"], indirect=True, scope="session")


def pytest_xdist_auto_num_workers() -> int | None:
    """Have more of xdist's workers than processors: the tests wait for the engine half the time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return 2 * (os.cpu_count() or 1)


@functools.cache
def has_sysbox() -> bool:
    """Whether this engine runs containers under Sysbox."""
    with contextlib.closing(Engine()) as engine, tempfile.TemporaryDirectory() as run:
        try:
            probe = Probe(engine, DAEMON_IMAGE, Path(run), print)
            return check("sysbox", engine, probe) is None
        except DindError:
            return False


@pytest.fixture(scope="session")
def mode(request: pytest.FixtureRequest) -> str:
    """The mode under test."""
    return str(request.param)


@pytest.fixture(scope="session")
def dind_config(dind_config: Settings, mode: str) -> Settings:
    """One healthy daemon for the tests that need no more."""
    # Of each worker's own, since the tests give names.
    scope = "worker"
    return dind_config.replace(mode=mode, image=DAEMON_IMAGE, load=[NESTED_IMAGE], scope=scope)


@pytest.fixture
def project(room: Path, mode: str, traces: Traces) -> Iterator[Project]:
    """A project whose tests a pytest run of its own runs."""
    with Project(room, "--dind-image", DAEMON_IMAGE, "--dind-mode", mode) as project:
        yield project


StartDaemon = Callable[..., "Started"]


class Started:
    """A daemon of a test's own, and the lease that holds it."""

    def __init__(
        self, engine: Engine, home: Home, settings: Settings, origin: Origin | None = None
    ) -> None:
        home.path.mkdir(parents=True, mode=0o700)
        self.home = home
        self.lease = Lease(home.path / LEASE)
        self.backend = backend(settings.mode, engine)
        record = self.backend.start(home, settings, print, origin=origin)
        self.daemon = Daemon(record, self.backend)

    def shared_temp_dir(self) -> str:
        """A temp dir that this daemon, as an outer engine, sees under the same path.

        It is in the daemon's home, which the container has under another path too.
        """
        path = self.home.path / "t"
        path.mkdir(mode=0o700)
        mount = f"mkdir -p {path} && mount --bind /run/pytest-dind/t {path}"
        self.daemon.exec(["sh", "-c", mount])
        return str(path)


@pytest.fixture
def start(engine: Engine, mode: str, room: Path, traces: Traces) -> Iterator[StartDaemon]:
    """Start daemons of a test's own, by the backend alone."""
    with contextlib.ExitStack() as ends:

        def start(origin: Origin | None = None, **settings: object) -> Started:
            # Short, since a daemon's home may hold another run's directories.
            home = Home(room / uuid4().hex[:4] / "m")
            ends.callback(backend(mode, engine).stop, home)
            given = Settings(mode=mode, image=DAEMON_IMAGE).replace(**settings)
            started = Started(engine, home, given, origin)
            ends.callback(started.lease.release)
            return started

        yield start


DeriveImage = Callable[..., str]


@pytest.fixture(scope="session")
def derive(engine: Engine) -> Iterator[DeriveImage]:
    """Make images from the daemon's image: a shell script run in it, and Dockerfile lines."""
    made: list[str] = []

    def derive(script: str = "true", *changes: str) -> str:
        container = engine.client.containers.run(
            DAEMON_IMAGE, ["sh", "-ec", script], detach=True, network_disabled=True
        )
        try:
            assert container.wait()["StatusCode"] == 0, container.logs().decode()
            tag = f"{os.getpid()}-{len(made)}"
            container.commit("pytest-dind/derived", tag, changes=list(changes))
        finally:
            container.remove(force=True, v=True)
        made.append(f"pytest-dind/derived:{tag}")
        return made[-1]

    yield derive
    for name in made:
        engine.client.images.remove(name, force=True)


@pytest.fixture(scope="session")
def slow_image(derive: DeriveImage) -> str:
    """An image whose dockerd never gets ready."""
    script = "printf '#!/bin/sh\\necho starting; exec sleep 600\\n' >/usr/local/bin/dockerd"
    return derive(f"{script}; chmod +x /usr/local/bin/dockerd")


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    """Somebody else's objects, which stay as they are."""
    made = Crowd()
    yield made
    made.assert_untouched()
    made.remove()


@pytest.fixture(scope="session")
def other(engine: Engine) -> Iterator[OtherHost]:
    """The other host, with both images."""
    with other_host(engine) as other:
        yield other


@pytest.fixture(scope="session")
def buildx() -> Path:
    """The buildx of this machine."""
    places = [Path.home() / ".docker", *map(Path, ("/usr/local/lib/docker", "/usr/lib/docker"))]
    places += [Path("/usr/libexec/docker"), Path("/usr/local/libexec/docker")]
    found = shutil.which("docker")
    if found is not None:
        places.insert(0, Path(found).parent.parent / "config")
    for place in places:
        if (place / "cli-plugins" / "docker-buildx").is_file():
            return place / "cli-plugins" / "docker-buildx"
    pytest.fail("buildx is missing: python tools/engine.py programs, and PATH as it says")


@contextlib.contextmanager
def buildx_in(daemon: Daemon, buildx: Path) -> Iterator[None]:
    """Have buildx in a daemon's container."""
    plugins = "/usr/local/lib/docker/cli-plugins"
    daemon.exec(["mkdir", "-p", plugins])
    daemon.copy_to(buildx, plugins)
    # What a daemon was found to lack is remembered.
    building._without.clear()
    try:
        yield
    finally:
        daemon.exec(["rm", "-r", plugins])
        building._without.clear()
