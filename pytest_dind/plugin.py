"""The pytest plugin: options, fixtures and hooks. Nothing here calls Docker."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import left, options, report, requirements, settings
from .errors import DindError, SettingsError

if TYPE_CHECKING:
    import docker

    from .daemon import Daemon
    from .factory import Factory
    from .sharing import Run

_settings = pytest.StashKey[settings.Settings]()
pytest_plugins = ("pytest_dind.left",)

_run: pytest.StashKey[Run] = pytest.StashKey()
_summary = pytest.StashKey[list[report.Told]]()
_said = pytest.StashKey[list[str]]()

# The name under which xdist hands a value of ours to a worker, and back.
_SHARED = "pytest_dind"

_FIXTURES = {"dind_daemon", "dind_client", "dind_env", "dind_clean"}
_MARKERS = requirements.NAMES


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, each with an ini key."""
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, so that a bad value ends the run before any test; add the markers."""
    try:
        config.stash[_settings] = options.from_config(config)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[_summary], config.stash[_said] = [], []
    for description in requirements.DESCRIPTIONS:
        config.addinivalue_line("markers", description)


def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Print what this machine can do, instead of running tests, if that is asked for."""
    if config.option.help or config.option.version:
        return None
    try:
        chosen = options.from_config(config)
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    if chosen.doctor == settings.DOCTOR_OFF:
        return None
    from .doctor import examine

    try:
        found = examine(chosen, lambda line: print(f"dind: {line}", file=sys.stderr))
    except KeyboardInterrupt:
        return pytest.ExitCode.INTERRUPTED
    print(found)
    return found.exit_code


def _begun(config: pytest.Config, chosen: settings.Settings) -> Run:
    """The run this process takes part in; begun, or joined, when first asked for."""
    from .sharing import Run

    if _run not in config.stash:
        say = partial(report.say, config)
        joined = getattr(config, "workerinput", {}).get(_SHARED)
        other = Path(joined) if joined else None
        config.stash[_run] = (
            Run.join(other, say, root=config.rootpath)
            if other and chosen.scope == "session"
            else Run.begin(say, beside=other, root=config.rootpath)
        )
    return config.stash[_run]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let an xdist worker take part in this process's run."""
    # Where there can be no run, the first test that needs a daemon fails on the same, and says so.
    with suppress(DindError):
        run = _begun(node.config, node.config.stash[_settings])
        node.workerinput[_SHARED] = str(run.path)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what an xdist worker has for the summary."""
    node.config.stash[_summary].extend(getattr(node, "workeroutput", {}).get(_SHARED, []))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Make a collection error of the markers with bad arguments, all at once."""
    report = yield
    if report.passed:
        tests = [node for node in report.result if isinstance(node, pytest.Item)]
        errors = requirements.mistakes([collector, *tests])
        if errors:
            report.outcome, report.result = "failed", []
            report.longrepr = "\n".join(map(str, errors))
    return report


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Have markers applied first of all, those too that another hook gave to a test."""
    for item in items:
        if hasattr(item, "fixturenames") and any(map(item.get_closest_marker, _MARKERS)):
            # A list of its own: the parameter sets of a function share theirs.
            item.fixturenames = [_dind_requirements.__name__, *item.fixturenames]


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str]:
    """Say which mode is in force, and why, when a test that was collected needs a daemon."""
    chosen = config.stash[_settings]
    if not _starts(config, items):
        return []
    # The first test that asks for a daemon that can't be had says so in full.
    with suppress(DindError):
        config.stash[_said] += report.choice(_begun(config, chosen).choice(chosen, proved=False))
    return config.stash[_said]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Start the daemon while tests run that don't need it."""
    config = session.config
    # Of xdist's workers one is enough, and which of them need one each can't be known.
    first = getattr(config, "workerinput", {}).get("workerid", "gw0") == "gw0"
    failed = session.testsfailed and not config.option.continue_on_collection_errors
    if first and not failed and _starts(config, getattr(session, "items", ())):
        chosen = config.stash[_settings]
        if chosen.scope == "session" or not hasattr(config, "workerinput"):
            with suppress(DindError):
                _begun(config, chosen).start_ahead(chosen)


def _starts(config: pytest.Config, items: Sequence[pytest.Item]) -> bool:
    """Whether this run is going to start a daemon whose settings are the options' own."""
    only_looks = config.option.collectonly or config.option.setupplan
    return not only_looks and requirements.needs_daemon(items, _FIXTURES)


def _lost(item: pytest.Item) -> DindError | None:
    """The error for a daemon that this test needs and that is gone."""
    if _run in item.config.stash and _FIXTURES.intersection(getattr(item, "fixturenames", ())):
        return item.config.stash[_run].lost()
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Fail a test at once whose daemon is gone, before its fixtures hang on it."""
    error = _lost(item)
    if error is not None:
        raise error
    return (yield from _explaining(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Say so when what a test failed on is the loss of its daemon."""
    return (yield from _explaining(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """Say so when what a fixture's end failed on is the loss of the daemon."""
    return (yield from _explaining(item))


def _explaining(item: pytest.Item) -> Generator[None]:
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
    told = config.stash[_summary]
    for _, line in dict.fromkeys(told):
        if line not in config.stash[_said]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def dind_config(pytestconfig: pytest.Config) -> settings.Settings:
    """The frozen settings; override it in conftest.py to return `dind_config.replace(...)`."""
    return pytestconfig.stash[_settings]


@pytest.fixture(scope="session")
def dind_mode(dind_config: settings.Settings, pytestconfig: pytest.Config) -> str:
    """The mode in force: "dind", "sysbox" or "socket"."""
    with _unavailable(dind_config):
        return _begun(pytestconfig, dind_config).choice(dind_config, proved=False).mode


@pytest.fixture(scope="session")
def dind_daemon(dind_config: settings.Settings, request: pytest.FixtureRequest) -> Daemon:
    """The daemon: a handle with its address, its client, and commands to run in it."""
    config = request.config
    cleans = any(
        "dind_clean" in getattr(item, "fixturenames", ()) for item in request.session.items
    )
    with _unavailable(dind_config):
        daemon = _begun(config, dind_config).daemon(dind_config)
        return left.attend(config, daemon, dind_config, cleans=cleans)


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

    for error in requirements.mistakes(request.node.listchain()):
        raise error
    with _unavailable(dind_config):
        # A test that needs a daemon has the proof in that.
        proved = not _FIXTURES.intersection(request.fixturenames)
        choice = _begun(request.config, dind_config).choice(dind_config, proved=proved)
    unmet = list(requirements.unmet(request.node, choice))
    unmet = unmet or list(requirements.unmet_by_engine(request.node, version))
    for found in unmet:
        if {found.requirement, "all"}.intersection(dind_config.require):
            pytest.fail(f"{found.reason} (--dind-require)", pytrace=False)
    if unmet:
        pytest.skip(unmet[0].reason)


@pytest.fixture(scope="session")
def dind_factory(dind_config: settings.Settings, pytestconfig: pytest.Config) -> Iterator[Factory]:
    """More daemons: `dind_factory(name=..., image=..., mode=..., args=[...]) -> Daemon`."""
    from .factory import Factory
    from .sharing import Run

    with _unavailable(dind_config):
        begun = _begun(pytestconfig, dind_config)
        # A run of its own: other workers have factories and daemons of the same names.
        run = Run.begin(partial(report.say, pytestconfig), beside=begun.path)
    factory = Factory(run, dind_config)
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
