"""What tests leave in the daemon: reported, or removed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from ..errors import DindError, SettingsError
from ..options import CLEAN, LEDGER, TEST, WIDER

if TYPE_CHECKING:
    from ..cleanup.ledger import Ledger
    from ..daemon.handle import Daemon
    from ..settings import Settings

_lines = pytest.StashKey[list[str]]()
_chosen = pytest.StashKey[str]()

_OFF, _FAIL = "off", "fail"
_WIDER = "fixtures of a wider scope"


def place(item: Any) -> None:
    """Have the fixture set up before others of the test, so that it ends after them."""
    names = [name for name in item.fixturenames if name != CLEAN]
    first = next((i for i, name in enumerate(names) if not _is_wider(item, name)), None)
    # A list of its own: the parameter sets of a function share theirs.
    item.fixturenames = [*names[:first], CLEAN, *names[len(names[:first]) :]]


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
    from ..cleanup.labelling_proxy import Stamp
    from ..cleanup.ledger import Ledger, shared
    from ..lifetime.layout import IN_CONTAINER, SOCKET

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
        daemon = shared(daemon, stamp, f"{IN_CONTAINER}/{name}")
    process = uuid4().hex[:8]
    config.stash[LEDGER] = Ledger(
        daemon,
        stamp,
        process,
        test=config.stash.get(TEST, ""),
        wider=config.stash[WIDER],
        used=bool(settings.reuse),
    )
    return daemon


def before_fixture(config: pytest.Config, *, wider: bool) -> None:
    """Tell what is there so far from what the fixture is going to make."""
    with _attempt(config) as ledger:
        if ledger is not None and wider:
            ledger.settle_before_wider()
        elif ledger is not None:
            ledger.settle()
    if wider:
        _count_wider(config, config.stash[WIDER] + 1)


def after_wider(config: pytest.Config) -> None:
    """Have what a fixture of a wider scope made be the fixture's."""
    _count_wider(config, config.stash[WIDER])
    with _attempt(config) as ledger:
        if ledger is not None:
            ledger.settle_after_wider()


def _count_wider(config: pytest.Config, wider: int) -> None:
    if LEDGER in config.stash:
        config.stash[LEDGER].count_wider(wider)


def before_call(item: pytest.Item) -> None:
    """Begin the test's own part here, where it has no fixtures of its own."""
    with _attempt(item.config) as ledger:
        if ledger is not None and _uses_daemon(item):
            ledger.settle()


def after_test(item: pytest.Item) -> list[str]:
    """What the test leaves, now that its fixtures have ended."""
    with _attempt(item.config) as ledger:
        if ledger is not None and _uses_daemon(item):
            return ledger.end()
    return []


def tell(item: pytest.Item, left: list[str]) -> None:
    """Note it for the summary, or fail the test.

    Raises:
        DindError: something is left, and `--dind-leaks` is `fail`.
    """
    chosen = item.config.stash.get(_chosen, _OFF)
    if not left or chosen == _OFF:
        return
    item.config.stash.setdefault(_lines, []).append(f"{item.nodeid}: {', '.join(left)}")
    if chosen == _FAIL:
        raise DindError(
            f"The test {item.nodeid} leaves something in the daemon (--dind-leaks fail).",
            evidence="\n".join(left),
            remedy=[
                "Have the test or its fixture remove it.",
                "Ask for the fixture dind_clean, which removes what the test made.",
            ],
        )


def _uses_daemon(item: pytest.Item) -> bool:
    return not {"dind_daemon", CLEAN}.isdisjoint(getattr(item, "fixturenames", ()))


@contextlib.contextmanager
def _attempt(config: pytest.Config) -> Iterator[Ledger | None]:
    """Do something with the ledger, if there is one; a daemon that is gone has none any more.

    A daemon that just does not answer, as while a test restarts it, keeps it.
    """
    ledger = config.stash.get(LEDGER, None)
    if ledger is not None and ledger.is_lost:
        # Looked at first: docker-py leaves a socket open where nobody answers.
        ledger.close()
        del config.stash[LEDGER]
        ledger = None
    if ledger is None:
        yield None
        return
    from docker.errors import DockerException

    # What became of the daemon is told by the test's own call, or by the loss itself.
    with contextlib.suppress(DockerException, OSError):
        yield ledger


def finish(config: pytest.Config) -> list[str]:
    """What was left behind, and by which test; by fixtures too, when all of them have ended."""
    lines = config.stash.get(_lines, [])
    with _attempt(config) as ledger:
        if ledger is not None:
            found = ledger.left_by_wider()
            if found and config.stash[_chosen] != _OFF:
                lines = [*lines, f"{_WIDER}: {', '.join(found)}"]
    if LEDGER in config.stash:
        config.stash[LEDGER].close()
        del config.stash[LEDGER]
    return lines


@contextlib.contextmanager
def cleaned(request: pytest.FixtureRequest) -> Iterator[None]:
    """Remove in the end everything that the test added, images and build cache on request.

    Raises:
        SettingsError: nobody knows what the test added, or images and build cache are to be
            removed where others have some too.
    """
    ledger = request.config.stash.get(LEDGER, None)
    if ledger is None:
        raise SettingsError(
            f"{CLEAN} does not know what is in the daemon.",
            evidence="Nobody noted what there was when the daemon came into use.",
            remedy=[
                f"Ask for it as a test's argument, or by @pytest.mark.{CLEAN}.",
                "Do not override the fixture dind_daemon; override dind_config.",
            ],
        )
    wanted = {"images": False, "build_cache": False}
    for marker in reversed([*request.node.iter_markers(CLEAN)]):
        wanted |= marker.kwargs
    if ledger.is_shared and any(wanted.values()):
        raise SettingsError(
            f"{CLEAN} cannot remove images or build cache in a daemon that others use too.",
            evidence="Images carry no label that tells who brought them.",
            remedy=[
                "Have a daemon of the worker's own: --dind-scope worker, without --dind-reuse or "
                "--dind-guard label.",
                f"Leave images and build cache: @pytest.mark.{CLEAN} without arguments.",
            ],
        )
    before = ledger.images(cache=wanted["build_cache"]) if any(wanted.values()) else None
    yield
    ledger.remove()
    if before is not None:
        ledger.restore(before, **wanted)
