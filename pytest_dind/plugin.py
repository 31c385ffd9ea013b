"""The pytest plugin: options, fixtures and hooks. Nothing here calls Docker."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import report, settings
from .errors import EngineUnavailable, ImageUnavailable, ModeUnavailable, SettingsError

if TYPE_CHECKING:
    import docker

    from .daemon import Daemon
    from .sharing import Run

_settings = pytest.StashKey[settings.Settings]()
_run: pytest.StashKey[Run] = pytest.StashKey()
_summary = pytest.StashKey[list[str]]()

_WORKER_INPUT = "dind_run"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with an ini key."""
    settings.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, so that a bad value ends the run before any test."""
    try:
        config.stash[_settings] = settings.from_config(config)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let an xdist worker take part in this process's run."""
    node.workerinput[_WORKER_INPUT] = str(_current(node.config).path)


def _current(config: pytest.Config) -> Run:
    """The run this process takes part in; begun, or joined, when first asked for."""
    from .sharing import Run

    if _run not in config.stash:
        say = partial(report.say, config)
        joined = getattr(config, "workerinput", {}).get(_WORKER_INPUT)
        config.stash[_run] = Run.join(Path(joined), say) if joined else Run.create(say)
    return config.stash[_run]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the run, after the fixtures' own ends; the process that began it ends its daemons."""
    config = session.config
    if _run in config.stash:
        run = config.stash[_run]
        config.stash[_summary] = report.summary(run.records())
        del config.stash[_run]
        run.close()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which daemons there were, and how long each took to be ready."""
    for line in config.stash.get(_summary, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def dind_config(pytestconfig: pytest.Config) -> settings.Settings:
    """The frozen settings; override it in conftest.py to return `dind_config.replace(...)`."""
    return pytestconfig.stash[_settings]


@pytest.fixture(scope="session")
def dind_mode(dind_config: settings.Settings) -> str:
    """The mode in force, such as "dind"."""
    from .backends import resolve

    return resolve(dind_config.mode)


@pytest.fixture(scope="session")
def dind_daemon(dind_config: settings.Settings, pytestconfig: pytest.Config) -> Daemon:
    """The daemon: a handle with its address, its client, and commands to run in it."""
    try:
        return _current(pytestconfig).daemon(dind_config)
    except (EngineUnavailable, ImageUnavailable, ModeUnavailable) as error:
        if dind_config.unavailable == "skip":
            pytest.skip(str(error))
        raise


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
