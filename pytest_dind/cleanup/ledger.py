"""Who made what in a daemon: the test that runs, or a fixture that outlives it.

In a daemon that this process alone uses, a test has made what is there after it and was not there
before. In a shared one it has made what carries its label (see `stamp`). What a fixture of a wider
scope makes meanwhile is the fixture's.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..engine import http
from ..lifetime.layout import RESTARTING
from . import inventory, removal
from .inventory import Resources

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from .labelling_proxy import Stamp


class Ledger:
    """What this process's tests make in a daemon.

    Args:
        daemon: The daemon.
        stamp: Where other processes use the daemon too, the labelling way to it.
        process: What tells this process from the others, for the label.
        test: The test that runs.
        wider: How many fixtures of a wider scope are being set up, one in the other.
        used: Whether others have used the daemon before.
    """

    def __init__(
        self,
        daemon: Daemon,
        stamp: Stamp | None,
        process: str,
        *,
        test: str,
        wider: int,
        used: bool,
    ) -> None:
        self.daemon = daemon
        self._stamp = stamp
        self._process = process
        self._client = daemon.client()
        self._test = test
        self._wider = wider
        # What the test has not made, as of its first fixture of its own; None while unknown.
        self._known: Resources | None = None
        self._mine: Resources = {}
        # What tests were told of already, or was there before; in the end it is nobody's.
        self._passed: Resources = inventory.take(self._client) if used and stamp is None else {}
        self._say_by()

    @property
    def is_shared(self) -> bool:
        """Whether other processes use the daemon too."""
        return self._stamp is not None

    @property
    def is_lost(self) -> bool:
        """Whether the daemon serves no more, and will not again."""
        record = self.daemon.record
        # The labelling socket is this process's own, and takes connections in any case.
        host = self._stamp.target if self._stamp else record.host

        def serves() -> bool:
            return http.is_served(host, record.certificates)

        # Once more at last: a restart may have ended just now.
        return not (serves() or (record.home.path / RESTARTING).exists() or serves())

    def close(self) -> None:
        """Let go of the daemon."""
        self._client.close()
        if self._stamp is not None:
            self._stamp.close()

    def begin(self, test: str) -> None:
        """A test begins; what it makes is its own from here on."""
        self._test, self._mine = test, {}
        self._say_by()

    def settle(self) -> None:
        """Everything so far is of wider fixtures: the test's own part begins now."""
        if self._stamp is None and self._known is None and not self._wider:
            self._known = inventory.take(self._client)

    def settle_before_wider(self) -> None:
        """A fixture of a wider scope is to be set up."""
        if self._stamp is None and self._known is not None and not self._wider:
            # The test asks for it only now, and may have made something before.
            self._mine = self._own()
            self._known = None

    def count_wider(self, wider: int) -> None:
        """So many fixtures of a wider scope are being set up now, one in the other."""
        self._wider = wider
        self._say_by()

    def settle_after_wider(self) -> None:
        """One is set up; beside what the test had made before, all is the fixture's."""
        if self._mine and not self._wider:
            now = inventory.take(self._client)
            self._known = {key: thing for key, thing in now.items() if key not in self._mine}

    def left(self) -> Resources:
        """What the test has made and is there still."""
        self.settle()
        return self._own()

    def _own(self) -> Resources:
        now = inventory.take(self._client)
        if self._stamp is not None:
            by = self._by(self._test)
            return {key: thing for key, thing in now.items() if thing.by == by}
        return {key: thing for key, thing in now.items() if key not in (self._known or {})}

    def remove(self) -> None:
        """Remove what the test has made."""
        removal.remove(self._client, self.left)

    def images(self, *, cache: bool) -> removal.Images:
        """The images that are there now."""
        return removal.Images.take(self._client, cache=cache)

    def restore(self, before: removal.Images, *, images: bool, build_cache: bool) -> None:
        """Have the images that were there before, and no others."""
        removal.restore(self._client, before, images=images, build_cache=build_cache)

    def end(self) -> list[str]:
        """The test has ended, its fixtures too; what it leaves, by name."""
        try:
            found = {key: thing for key, thing in self.left().items() if key not in self._passed}
        except BaseException:
            # What can't be known now is not the next test's.
            self._known = None
            raise
        finally:
            self._test = ""
            self._say_by()
        self._passed |= found
        if self._known is not None:
            self._known |= found
        return sorted(map(str, found.values()))

    def left_by_wider(self) -> list[str]:
        """What fixtures of a wider scope, which have ended too, leave."""
        now = inventory.take(self._client)
        if self._stamp is not None:
            by = self._by("")
            now = {key: thing for key, thing in now.items() if thing.by == by}
        return sorted(str(thing) for key, thing in now.items() if key not in self._passed)

    def _by(self, test: str) -> str:
        return f"{self._process} {test}"

    def _say_by(self) -> None:
        if self._stamp is not None:
            self._stamp.by = self._by("" if self._wider else self._test)


def shared(daemon: Daemon, stamp: Stamp, inside: str) -> Daemon:
    """The same daemon, reached through the labelling socket, inside its container too."""
    record = dataclasses.replace(daemon.record, host=f"unix://{stamp.path}")
    return dataclasses.replace(daemon, record=record, _inside=f"unix://{inside}")
