"""The fixtures of a daemon."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ..errors import DindError, SettingsError
from ..options import OTHERS, SETTINGS, current_run

if TYPE_CHECKING:
    import docker

    from ..daemon.handle import Daemon
    from ..runs.factory import Factory
    from ..settings import Settings

NAMES = frozenset({"dind_daemon", "dind_client", "dind_env", "dind_clean"})
"""Those that start the daemon."""
REQUIREMENTS = "_dind_requirements"
"""The one that applies markers."""


class Unavailable(pytest.skip.Exception):  # type: ignore[misc, name-defined]
    """A test is skipped, since no daemon can be had; not if it has a marker that is required."""

    def __init__(self, reason: str, require: Sequence[str]) -> None:
        super().__init__(reason)
        self.require = require


@contextmanager
def unavailable(chosen: Settings) -> Iterator[None]:
    """Skip instead of failing where no daemon can be had, if that is asked for."""
    try:
        yield
    except SettingsError:
        raise
    except DindError as error:
        if chosen.unavailable == "skip":
            raise Unavailable(error.line(), chosen.require) from error
        raise


@pytest.fixture(scope="session")
def dind_config(pytestconfig: pytest.Config) -> Settings:
    """The frozen settings; override it in conftest.py to return `dind_config.replace(...)`."""
    return pytestconfig.stash[SETTINGS]


@pytest.fixture(scope="session")
def dind_mode(dind_config: Settings, pytestconfig: pytest.Config) -> str:
    """The mode in force: "dind", "sysbox" or "socket"."""
    with unavailable(dind_config):
        return current_run(pytestconfig, dind_config).choice(dind_config, proved=False).mode


@pytest.fixture(scope="session")
def dind_daemon(dind_config: Settings, request: pytest.FixtureRequest) -> Daemon:
    """The daemon: a handle with its address, its client, and commands to run in it."""
    from . import leaks

    cleans = any(
        "dind_clean" in getattr(item, "fixturenames", ()) for item in request.session.items
    )
    with unavailable(dind_config):
        daemon = current_run(request.config, dind_config).daemon(dind_config)
        return leaks.attend(request.config, daemon, dind_config, cleans=cleans)


@pytest.fixture(name=REQUIREMENTS)
def dind_requirements(request: pytest.FixtureRequest, dind_config: Settings) -> None:
    """Skip a test whose markers ask for what isn't there, or fail it with --dind-require."""
    from . import markers

    # A test that needs a daemon has the proof of the mode in that.
    proved = NAMES.isdisjoint(request.fixturenames)
    markers.apply(request, dind_config, proved=proved)


@pytest.fixture(scope="session")
def dind_factory(dind_config: Settings, pytestconfig: pytest.Config) -> Iterator[Factory]:
    """More daemons: `dind_factory(name=..., image=..., mode=..., args=[...]) -> Daemon`."""
    from ..runs.factory import Factory
    from ..runs.run import Run
    from . import terminal

    with unavailable(dind_config):
        joined = current_run(pytestconfig, dind_config)
        # A run of its own: other workers have factories and daemons of the same names.
        run = Run.begin(
            lambda text: terminal.progress(pytestconfig, text),
            beside=joined.path,
            root=pytestconfig.rootpath,
        )
    pytestconfig.stash.setdefault(OTHERS, []).append(run)
    factory = Factory(run, dind_config, unavailable)
    yield factory
    factory.close()


@pytest.fixture(scope="session")
def dind_client(dind_daemon: Daemon) -> Iterator[docker.DockerClient]:
    """A docker client (docker-py) on the daemon, healthy when handed over."""
    client = dind_daemon.client()
    yield client
    client.close()


@pytest.fixture(scope="session")
def dind_env(dind_daemon: Daemon) -> dict[str, str]:
    """The process environment for tools, with every inherited `DOCKER_*` replaced."""
    return dind_daemon.environment()


@pytest.fixture
def dind_clean(request: pytest.FixtureRequest, dind_daemon: Daemon) -> Iterator[Daemon]:
    """The daemon; after the test everything the test added is gone, images kept unless asked."""
    from . import leaks

    with leaks.cleaned(request):
        yield dind_daemon
