"""The pytest plugin's other half: what tests leave in the daemon, reported or removed."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from .errors import DindError, SettingsError

if TYPE_CHECKING:
    from .daemon import Daemon
    from .ledger import Ledger
    from .settings import Settings

_ledger: pytest.StashKey[Ledger] = pytest.StashKey()
_lines = pytest.StashKey[list[str]]()
_chosen = pytest.StashKey[str]()
_test = pytest.StashKey[str]()
_wider = pytest.StashKey[int]()

# The name under which xdist hands a worker's lines to the controller.
_SHARED = "pytest_dind_left"
_MARKER = "dind_clean"
_OFF, _FAIL = "off", "fail"
_WIDER = "fixtures of a wider scope"


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker."""
    config.stash[_lines], config.stash[_test], config.stash[_wider] = [], "", 0
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(images=False, build_cache=False): after the test everything that it added to "
        "the daemon is removed, as by the fixture dind_clean; on request new images and build "
        "cache too.",
    )


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Have the fixture set up before others of the test, so that it ends after them."""
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is not None and (_MARKER in names or item.get_closest_marker(_MARKER)):
            names = [name for name in names if name != _MARKER]
            first = next((i for i, name in enumerate(names) if not _is_wider(item, name)), None)
            # A list of its own: the parameter sets of a function share theirs.
            item.fixturenames = [*names[:first], _MARKER, *names[len(names[:first]) :]]


def _is_wider(item: Any, name: str) -> bool:
    found = item._fixtureinfo.name2fixturedefs.get(name)
    return bool(found) and found[-1].scope != "function"


def attend(config: pytest.Config, daemon: Daemon, settings: Settings, *, cleans: bool) -> Daemon:
    """Keep a ledger of what tests make in the daemon; the daemon as they are to have it.

    Args:
        config: The run's.
        daemon: The daemon.
        settings: Its settings.
        cleans: Whether a test of this process is to be cleaned up after.
    """
    config.stash[_chosen] = settings.leaks
    if settings.leaks == _OFF and not cleans:
        return daemon
    from .backends.launch import HOME
    from .ledger import Ledger, shared
    from .stamp import Stamp
    from .workspace import SOCKET

    worker = getattr(config, "workerinput", {}).get("workerid", "")
    is_shared = bool(
        settings.reuse
        or (worker and settings.scope == "session")
        # The machine's own engine, where whatever anybody makes shows.
        or (daemon.mode == "socket" and settings.guard == "label")
    )
    if is_shared and not (cleans or settings.leaks == _FAIL):
        # Whose a thing is can't be told by looking, and what comes through a socket that labels it
        # is for those who ask for that.
        return daemon
    stamp = None
    if is_shared:
        if daemon.record.certificates:
            raise SettingsError(
                "Tests can't be cleaned up after in a daemon that is shared over a network.",
                evidence=f"The daemon is at {daemon.host}, and other processes use it.",
                remedy=[
                    "Give each xdist worker a daemon of its own: --dind-scope worker.",
                    "Leave --dind-reuse, dind_clean and --dind-leaks fail out.",
                ],
            )
        home = daemon.record.home.path
        # No longer than the daemon's own, for whose path there is room.
        name = f"{uuid4().hex[:6]}.sock"
        stamp = Stamp(home / name, home / SOCKET)
        daemon = shared(daemon, stamp, f"{HOME}/{name}")
    process = uuid4().hex[:8]
    config.stash[_ledger] = Ledger(
        daemon,
        stamp,
        process,
        test=config.stash[_test],
        wider=config.stash[_wider],
        used=bool(settings.reuse),
    )
    return daemon


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, Any, Any]:
    """Tell what a test makes from what fixtures make that outlive it."""
    config = request.config
    if fixturedef.scope == "function":
        with _attempt(config) as ledger:
            if ledger is not None:
                ledger.settle()
        return (yield)
    with _attempt(config) as ledger:
        if ledger is not None:
            ledger.settle_before_wider()
    _count_wider(config, 1)
    try:
        return (yield)
    finally:
        # It may be the daemon's own fixture, with which the ledger began.
        _count_wider(config, -1)
        with _attempt(config) as ledger:
            if ledger is not None:
                ledger.settle_after_wider()


def _count_wider(config: pytest.Config, step: int) -> None:
    config.stash[_wider] += step
    if _ledger in config.stash:
        config.stash[_ledger].count_wider(config.stash[_wider])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Have what is made from here on be this test's."""
    item.config.stash[_test] = item.nodeid
    if _ledger in item.config.stash:
        item.config.stash[_ledger].begin(item.nodeid)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Begin the test's own part here, where it has no fixtures of its own."""
    with _attempt(item.config) as ledger:
        if ledger is not None and _uses_daemon(item):
            ledger.settle()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    """See what the test leaves, when its fixtures have ended."""
    left: list[str] = []
    try:
        result = yield
    finally:
        with _attempt(item.config) as ledger:
            if ledger is not None and _uses_daemon(item):
                left = ledger.end()
    chosen = item.config.stash.get(_chosen, _OFF)
    if left and chosen != _OFF:
        item.config.stash[_lines].append(f"{item.nodeid}: {', '.join(left)}")
        if chosen == _FAIL:
            raise DindError(
                f"The test {item.nodeid} leaves something in the daemon (--dind-leaks fail).",
                evidence="\n".join(left),
                remedy=[
                    "Have the test or its fixture remove it.",
                    "Ask for the fixture dind_clean, which removes what the test made.",
                ],
            )
    return result


def _uses_daemon(item: pytest.Item) -> bool:
    return not {"dind_daemon", _MARKER}.isdisjoint(getattr(item, "fixturenames", ()))


@contextlib.contextmanager
def _attempt(config: pytest.Config) -> Iterator[Ledger | None]:
    """Do something with the ledger, if there is one; a daemon that is gone has none any more.

    A daemon that just does not answer, as while a test restarts it, keeps it.
    """
    ledger = config.stash.get(_ledger, None)
    if ledger is not None and ledger.is_lost:
        # Looked at first: docker-py leaves a socket open where nobody answers.
        ledger.close()
        del config.stash[_ledger]
        ledger = None
    if ledger is None:
        yield None
        return
    from docker.errors import DockerException

    # What became of the daemon is told by the test's own call, or by the loss itself.
    with contextlib.suppress(DockerException, OSError):
        yield ledger


def finish(config: pytest.Config) -> None:
    """See what fixtures leave, when all have ended and the daemon is there still."""
    with _attempt(config) as ledger:
        if ledger is not None:
            found = ledger.left_by_wider()
            if found and config.stash[_chosen] != _OFF:
                config.stash[_lines].append(f"{_WIDER}: {', '.join(found)}")
    if _ledger in config.stash:
        config.stash[_ledger].close()
        del config.stash[_ledger]
    if hasattr(config, "workeroutput"):
        config.workeroutput[_SHARED] = config.stash[_lines]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what an xdist worker has for the summary."""
    node.config.stash[_lines].extend(getattr(node, "workeroutput", {}).get(_SHARED, []))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was left behind, and by which test."""
    if config.stash[_lines]:
        terminalreporter.write_line("dind: left behind in the daemon (--dind-leaks):")
    for line in config.stash[_lines]:
        terminalreporter.write_line(f"  {line}")


@pytest.fixture
def dind_clean(request: pytest.FixtureRequest, dind_daemon: Daemon) -> Iterator[Daemon]:
    """The daemon; after the test everything the test added is gone, images kept unless asked."""
    ledger = request.config.stash.get(_ledger, None)
    if ledger is None:
        raise SettingsError(
            f"{_MARKER} does not know what is in the daemon.",
            evidence="Nobody noted what there was when the daemon came into use.",
            remedy=[
                f"Ask for it as a test's argument, or by @pytest.mark.{_MARKER}.",
                "Do not override the fixture dind_daemon; override dind_config.",
            ],
        )
    wanted = {"images": False, "build_cache": False}
    for marker in reversed([*request.node.iter_markers(_MARKER)]):
        wanted |= marker.kwargs
    if ledger.is_shared and any(wanted.values()):
        raise SettingsError(
            f"{_MARKER} cannot remove images or build cache in a daemon that others use too.",
            evidence="Images carry no label that tells who brought them.",
            remedy=[
                "Have a daemon of the worker's own: --dind-scope worker, without --dind-reuse or "
                "--dind-guard label.",
                f"Leave images and build cache: @pytest.mark.{_MARKER} without arguments.",
            ],
        )
    before = ledger.images(cache=wanted["build_cache"]) if any(wanted.values()) else None
    yield dind_daemon
    ledger.remove()
    if before is not None:
        ledger.restore(before, **wanted)
