"""What tests leave in the daemon: pytest's side of reporting it, or of removing it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from ..errors import DindError, SettingsError
from ..options import CLEAN, REPORT

if TYPE_CHECKING:
    from ..cleanup.labelling_proxy import LabellingProxy
    from ..cleanup.ledger import Ledger
    from ..daemon.handle import Daemon
    from ..settings import Settings

_OFF, _FAIL = "off", "fail"
_WIDER = "fixtures of a wider scope"


def place_fixture(item: Any) -> None:
    """Set up the fixture `dind_clean` before the test's other fixtures, so that it ends last.

    Fixtures of a wider scope stay before it: they outlive the test.
    """
    names = [name for name in item.fixturenames if name != CLEAN]
    first = next((i for i, name in enumerate(names) if not _is_wider(item, name)), len(names))
    # A list of its own: the parameter sets of a function share theirs.
    item.fixturenames = [*names[:first], CLEAN, *names[first:]]


def _is_wider(item: Any, name: str) -> bool:
    found = item._fixtureinfo.name2fixturedefs.get(name)
    return bool(found) and found[-1].scope != "function"


class Leaks:
    """A record of what the tests of this process leave in the daemon.

    Args:
        config: pytest's configuration.
        test: The test that runs, where one does.
        wider: How many fixtures are being set up that outlive the test, one in the other.
    """

    def __init__(self, config: pytest.Config, *, test: str, wider: int) -> None:
        self._config = config
        self._test = test
        self._wider = wider
        # The one that has begun and was not looked at since: `--pdb` and Ctrl-C end the run in it.
        self._under_way = test
        self._lines: list[str] = []
        # The setting; "off" while there is no daemon.
        self._chosen = _OFF
        # There while what tests make in the daemon is noted.
        self._ledger: Ledger | None = None
        # The ids of the daemons for which there was one.
        self._attended: set[str] = set()

    def load(self, settings: Settings) -> None:
        """Load what is needed once there is a daemon, while that starts."""
        if settings.leaks != _OFF:
            from ..cleanup import ledger  # noqa: F401

    def attend(self, daemon: Daemon, settings: Settings, *, cleans: bool) -> Daemon:
        """Keep a ledger of what tests make in the daemon; return the daemon for them to use.

        Another daemon must have been left before.

        Args:
            daemon: The daemon.
            settings: The daemon's settings.
            cleans: Whether a test of this process is to be cleaned up after.
        """
        used = bool(settings.reuse) or daemon.id in self._attended
        self._attended.add(daemon.id)
        self._chosen = settings.leaks
        if settings.leaks == _OFF and not cleans:
            return daemon
        is_shared = self.is_shared(daemon, settings)
        asks = cleans or settings.leaks == _FAIL
        reports = REPORT in self._config.stash and not daemon.record.is_unshared
        if is_shared and not (asks or reports):
            # Who made a resource can't be told by looking, and the socket that labels what comes
            # through it is for those who ask for that.
            return daemon
        from ..cleanup.ledger import Ledger, shared

        proxy = None
        if is_shared:
            proxy, inside = _labelling_socket(daemon)
            daemon = shared(daemon, proxy, inside)
        self._ledger = Ledger(
            daemon,
            proxy,
            test=self._test,
            wider=self._wider,
            used=used,
        )
        return daemon

    @property
    def maker(self) -> str:
        """What names this process in the label on what it makes; empty where there is no label."""
        return self._ledger.process if self._ledger is not None else ""

    def is_shared(self, daemon: Daemon, settings: Settings) -> bool:
        """Tell whether others than this process use the daemon too."""
        worker = getattr(self._config, "workerinput", {}).get("workerid", "")
        return bool(
            settings.reuse
            or (worker and settings.scope == "session")
            # The machine's own engine, where whatever anybody makes shows.
            or (daemon.mode == "socket" and settings.guard == "label")
        )

    def begin_test(self, test: str) -> None:
        """Attribute to this test what is made from here on."""
        self._test = self._under_way = test
        if self._ledger is not None:
            self._ledger.begin_test(test)

    def before_fixture(self, *, wider: bool) -> None:
        """Tell what is there so far from what a fixture is going to make.

        Args:
            wider: Whether the fixture outlives the test.
        """
        with self._attempt() as ledger:
            if ledger is not None and wider:
                ledger.before_wider_fixture()
            elif ledger is not None:
                ledger.begin_own_part()
        self._count_wider(int(wider))

    def after_fixture(self, *, wider: bool) -> None:
        """Attribute to a fixture that outlives the test what was made while it was set up."""
        if not wider:
            return
        self._count_wider(-1)
        with self._attempt() as ledger:
            if ledger is not None:
                ledger.after_wider_fixture()

    def _count_wider(self, more: int) -> None:
        self._wider += more
        if self._ledger is not None and more:
            self._ledger.set_wider(self._wider)

    def before_call(self, item: pytest.Item) -> None:
        """Begin the test's own part here, where the test has no fixtures of its own."""
        with self._attempt() as ledger:
            if ledger is not None and _uses_daemon(item):
                ledger.begin_own_part()

    def after_test(self, item: pytest.Item) -> list[str]:
        """Return what the test leaves, now that its fixtures have ended."""
        self._under_way = ""
        with self._attempt() as ledger:
            if ledger is not None and _uses_daemon(item):
                return ledger.end_test()
        return []

    def report(self, item: pytest.Item, found: list[str]) -> None:
        """Note for the summary what a test leaves, or fail the test.

        Raises:
            DindError: the test leaves something, and `--dind-leaks` is `fail`.
        """
        if not found or self._chosen == _OFF:
            return
        self._note(item.nodeid, found)
        if self._chosen == _FAIL:
            raise DindError(
                f"The test {item.nodeid} leaves something in the daemon (--dind-leaks fail).",
                evidence="\n".join(found),
                remedy=[
                    "Have the test or its fixture remove it.",
                    "Ask for the fixture dind_clean, which removes what the test made.",
                ],
            )

    def finish(self) -> list[str]:
        """Return a line for each test that left something, and for the fixtures of all.

        The fixtures must have ended.
        """
        self._leave(self._under_way)
        return self._lines

    def leave(self) -> None:
        """Leave the daemon for another, if there is one.

        The fixtures that use it must have ended, and so has the last test that used it: the one
        under way is the first that asks for the other daemon.
        """
        self._leave("")

    def _leave(self, test: str) -> None:
        with self._attempt() as ledger:
            if ledger is not None:
                by_test = ledger.end_test() if test else []
                for whose, found in (
                    (test, by_test),
                    ("", ledger.leftovers_of_wider()),
                ):
                    if found and self._chosen != _OFF:
                        self._note(whose, found)
        self._close_ledger()

    def _note(self, test: str, found: list[str]) -> None:
        """Note what a test leaves, or without one what the fixtures leave that outlive tests."""
        self._lines.append(f"{test or _WIDER}: {', '.join(found)}")
        report = self._config.stash.get(REPORT, None)
        if report is not None:
            report.left(test, found)

    def give_up(self) -> None:
        """Look no more: the daemon does not answer, and is not to be waited for again."""
        self._close_ledger()

    def _close_ledger(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    @contextlib.contextmanager
    def _attempt(self) -> Iterator[Ledger | None]:
        """Do something with the ledger, if there is one.

        A daemon that is gone has none any more. One that just does not answer, as while a test
        restarts it, keeps it.
        """
        if self._ledger is not None and self._ledger.is_lost:
            # Looked at first: docker-py leaves a socket open where nobody answers.
            self._close_ledger()
        if self._ledger is None:
            yield None
            return
        from docker.errors import DockerException

        # What became of the daemon is told by the test's own call, or by the loss itself.
        with contextlib.suppress(DockerException, OSError):
            yield self._ledger

    @contextlib.contextmanager
    def cleaned(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Remove in the end everything that the test added, images and build cache on request.

        Raises:
            SettingsError: nobody knows what the test added, or images and build cache are to be
                removed where others have some too.
        """
        ledger = self._ledger
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
                    "Have a daemon of the worker's own: --dind-scope worker, without --dind-reuse "
                    "or --dind-guard label.",
                    f"Leave images and build cache: @pytest.mark.{CLEAN} without arguments.",
                ],
            )
        before = ledger.images(cache=wanted["build_cache"]) if any(wanted.values()) else None
        yield
        ledger.remove_leftovers()
        if before is not None:
            ledger.restore_images(before, **wanted)


def _labelling_socket(daemon: Daemon) -> tuple[LabellingProxy, str]:
    """Return a socket that labels what is made through it, and its path in the container.

    Raises:
        SettingsError: the daemon is reached over a network, where there can be no such socket.
    """
    from ..cleanup.labelling_proxy import LabellingProxy
    from ..lifetime.layout import IN_CONTAINER, SOCKET

    if daemon.record.is_unshared:
        raise SettingsError(
            "Tests can't be cleaned up after in a daemon that is shared over a network.",
            evidence=f"The daemon is at {daemon.host}, and other processes use it.",
            remedy=[
                "Give each xdist worker a daemon of its own: --dind-scope worker.",
                "Leave --dind-reuse, dind_clean and --dind-leaks fail out.",
            ],
        )
    home = daemon.record.home.path
    # No longer than the name of the daemon's own socket, for whose path there is room.
    name = f"{uuid4().hex[:6]}.sock"
    return LabellingProxy(home / name, home / SOCKET), f"{IN_CONTAINER}/{name}"


def _uses_daemon(item: pytest.Item) -> bool:
    return not {"dind_daemon", CLEAN}.isdisjoint(getattr(item, "fixturenames", ()))
