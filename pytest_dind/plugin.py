"""The pytest plugin: options, fixtures and hooks. Nothing here calls Docker."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import report, requirements, settings
from .errors import DindError, SettingsError

if TYPE_CHECKING:
    import docker

    from .daemon import Daemon
    from .sharing import Run

_settings = pytest.StashKey[settings.Settings]()
_run: pytest.StashKey[Run] = pytest.StashKey()
_summary = pytest.StashKey[list[str]]()

# The name under which xdist hands a value of ours to a worker, and back.
_SHARED = "pytest_dind"

_FIXTURES = {"dind_daemon", "dind_client", "dind_env"}
_MARKERS = requirements.NAMES


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with an ini key."""
    settings.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, so that a bad value ends the run before any test; add the markers."""
    try:
        config.stash[_settings] = settings.from_config(config)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[_summary] = []
    for description in requirements.DESCRIPTIONS:
        config.addinivalue_line("markers", description)


def _begun(config: pytest.Config, chosen: settings.Settings) -> Run:
    """The run this process takes part in; begun, or joined, when first asked for."""
    from .sharing import Run

    if _run not in config.stash:
        say = partial(report.say, config)
        joined = getattr(config, "workerinput", {}).get(_SHARED)
        config.stash[_run] = (
            Run.join(Path(joined), say) if joined and chosen.scope == "session" else Run.begin(say)
        )
    return config.stash[_run]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let an xdist worker take part in this process's run."""
    node.workerinput[_SHARED] = str(_begun(node.config, node.config.stash[_settings]).path)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what an xdist worker has for the summary."""
    node.config.stash[_summary].extend(getattr(node, "workeroutput", {}).get(_SHARED, []))


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Check the markers of tests as they are collected, and have them applied first of all."""
    made = yield
    for item in made if isinstance(made, list) else [made]:
        if isinstance(item, pytest.Function) and any(map(item.get_closest_marker, _MARKERS)):
            try:
                requirements.check(item)
            except SettingsError as error:
                raise pytest.Collector.CollectError(str(error)) from error
            item.fixturenames.insert(0, _dind_requirements.__name__)
    return made


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str]:
    """Say which mode is in force, and why, when a test that was collected needs a daemon."""
    chosen = config.stash[_settings]
    if config.option.collectonly or config.option.setupplan or not _known(items):
        return []
    try:
        return [report.choice(_begun(config, chosen).choice(chosen))]
    except DindError:
        # The first test that asks for the daemon says so in full.
        return []


def _known(items: Sequence[pytest.Item]) -> bool:
    """Whether one of these tests needs a daemon whose settings are the options' own."""
    for item in items:
        if _FIXTURES.intersection(getattr(item, "fixturenames", ())):
            info: Any = getattr(item, "_fixtureinfo", None)
            return len(info.name2fixturedefs.get("dind_config", ())) == 1
    return False


def _lost(item: pytest.Item) -> DindError | None:
    """The error for a daemon that this test needs and that is gone."""
    if _run in item.config.stash and _FIXTURES.intersection(getattr(item, "fixturenames", ())):
        return item.config.stash[_run].lost()
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test at once whose daemon is gone, before its fixtures hang on it."""
    error = _lost(item)
    if error is not None:
        raise error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Say so when what a test failed on is the loss of its daemon."""
    try:
        return (yield)
    except Exception as error:
        lost = _lost(item)
        if lost is None:
            raise
        raise lost from error


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the run, after the fixtures' own ends; the process that began it ends its daemons."""
    config = session.config
    if _run not in config.stash:
        return
    run = config.stash[_run]
    del config.stash[_run]
    kept = run.close(failed=bool(session.testsfailed))
    lines = config.stash[_summary]
    lines += report.summary(run.choices, run.records, kept)
    if hasattr(config, "workeroutput"):
        config.workeroutput[_SHARED] = lines


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which daemons there were, how long each took to be ready, and which stay."""
    lines: list[str] = config.stash[_summary]
    for line in dict.fromkeys(lines):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def dind_config(pytestconfig: pytest.Config) -> settings.Settings:
    """The frozen settings; override it in conftest.py to return `dind_config.replace(...)`."""
    return pytestconfig.stash[_settings]


@pytest.fixture(scope="session")
def dind_mode(dind_config: settings.Settings, pytestconfig: pytest.Config) -> str:
    """The mode in force: "dind" or "sysbox"."""
    with _unavailable(dind_config):
        return _begun(pytestconfig, dind_config).choice(dind_config).mode


@pytest.fixture(scope="session")
def dind_daemon(dind_config: settings.Settings, pytestconfig: pytest.Config) -> Daemon:
    """The daemon: a handle with its address, its client, and commands to run in it."""
    with _unavailable(dind_config):
        return _begun(pytestconfig, dind_config).daemon(dind_config)


@contextmanager
def _unavailable(chosen: settings.Settings) -> Iterator[None]:
    """Skip instead of failing where no daemon can be had, if that is asked for."""
    try:
        yield
    except SettingsError:
        raise
    except DindError as error:
        if chosen.unavailable == "skip":
            pytest.skip(str(error))
        raise


@pytest.fixture
def _dind_requirements(request: pytest.FixtureRequest, dind_config: settings.Settings) -> None:
    """Skip a test whose markers ask for what isn't there, or fail it with --dind-require."""

    def version() -> str:
        return str(request.getfixturevalue("dind_daemon").version)

    with _unavailable(dind_config):
        choice = _begun(request.config, dind_config).choice(dind_config)
    for found in requirements.unmet(request.node, choice, version):
        if {found.requirement, "all"}.intersection(dind_config.require):
            pytest.fail(f"{found.reason} (--dind-require)", pytrace=False)
        pytest.skip(found.reason)


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
