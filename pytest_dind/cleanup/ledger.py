"""The ledger of a daemon: which test, or fixture of a wider scope, made what in it.

In a daemon that this process alone uses, a test has made what is there after it and was not there
before. In a shared one it has made what carries its label (see `labelling_proxy`). What a fixture
of a wider scope makes in the meantime belongs to the fixture.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING
from uuid import uuid4

from ..engine import http
from ..lifetime.layout import RESTARTING
from . import inventory, removal
from .inventory import Resources

if TYPE_CHECKING:
    from ..daemon.handle import Daemon
    from .labelling_proxy import LabellingProxy


class Ledger:
    """The resources that this process's tests make in a daemon.

    Attributes:
        daemon: The daemon.
        process: Tells this process from the others, in the label.

    Args:
        daemon: The daemon.
        proxy: The labelling proxy to the daemon, where other processes use it too.
        test: The test that runs.
        wider: How many fixtures of a wider scope are being set up, one within the other.
        used: Whether others have used the daemon before.
    """

    def __init__(
        self, daemon: Daemon, proxy: LabellingProxy | None, *, test: str, wider: int, used: bool
    ) -> None:
        self.daemon = daemon
        self._proxy = proxy
        self.process = uuid4().hex[:8]
        self._client = daemon.client()
        self._test = test
        self._wider = wider
        # What the test has not made, as of its first fixture of its own; None while unknown.
        self._known: Resources | None = None
        self._mine: Resources = {}
        # What was reported of earlier tests, or was there before: not reported again at the end.
        self._reported: Resources = inventory.take(self._client) if used and proxy is None else {}
        self._update_label()

    @property
    def is_shared(self) -> bool:
        """Whether other processes use the daemon too."""
        return self._proxy is not None

    @property
    def is_lost(self) -> bool:
        """Whether the daemon serves no more, and will not again."""
        record = self.daemon.record
        # The labelling proxy is this process's own, and takes connections in any case.
        host = self._proxy.target if self._proxy else record.host

        def serves() -> bool:
            return http.is_served(host, record.certificates)

        # Once more at last: a restart may have ended just now.
        return not (serves() or (record.home.path / RESTARTING).exists() or serves())

    def close(self) -> None:
        """Close the ledger's client and the labelling proxy."""
        self._client.close()
        if self._proxy is not None:
            self._proxy.close()

    def begin_test(self, test: str) -> None:
        """Count what is made from here on as the test's."""
        self._test, self._mine = test, {}
        self._update_label()

    def begin_own_part(self) -> None:
        """Count what is there so far as that of wider fixtures, if it is not counted yet."""
        if self._proxy is None and self._known is None and not self._wider:
            self._known = inventory.take(self._client)

    def before_wider_fixture(self) -> None:
        """Note what the test has made before a fixture of a wider scope is set up within it."""
        if self._proxy is None and self._known is not None and not self._wider:
            # The test asks for it only now, and may have made something before.
            self._mine = self._made_by_test()
            self._known = None

    def set_wider(self, wider: int) -> None:
        """Set how many fixtures of a wider scope are being set up, one within the other."""
        self._wider = wider
        self._update_label()

    def after_wider_fixture(self) -> None:
        """Count all as the wider fixture's but what the test had made before it."""
        if self._mine and not self._wider:
            now = inventory.take(self._client)
            self._known = {key: found for key, found in now.items() if key not in self._mine}

    def leftovers(self) -> Resources:
        """What the test has made and is still there."""
        self.begin_own_part()
        return self._made_by_test()

    def _made_by_test(self) -> Resources:
        now = inventory.take(self._client)
        if self._proxy is not None:
            label = self._label(self._test)
            return {key: found for key, found in now.items() if found.by == label}
        return {key: found for key, found in now.items() if key not in (self._known or {})}

    def remove_leftovers(self) -> None:
        """Remove what the test has made."""
        removal.remove(self._client, self.leftovers)

    def images(self, *, cache: bool) -> removal.ImageSnapshot:
        """The images that are there now."""
        return removal.ImageSnapshot.take(self._client, cache=cache)

    def restore_images(
        self, before: removal.ImageSnapshot, *, images: bool, build_cache: bool
    ) -> None:
        """Bring the images back to those of a snapshot."""
        removal.restore_images(self._client, before, images=images, build_cache=build_cache)

    def end_test(self) -> list[str]:
        """End a test whose fixtures have ended too; gives the names of what it leaves."""
        try:
            leftovers = self.leftovers()
            found = {key: one for key, one in leftovers.items() if key not in self._reported}
        except BaseException:
            # What can't be known now is not the next test's.
            self._known = None
            raise
        finally:
            self._test = ""
            self._update_label()
        self._reported |= found
        if self._known is not None:
            self._known |= found
        return sorted(map(str, found.values()))

    def leftovers_of_wider(self) -> list[str]:
        """The names of what fixtures of a wider scope leave, which have ended too."""
        now = inventory.take(self._client)
        if self._proxy is not None:
            label = self._label("")
            now = {key: found for key, found in now.items() if found.by == label}
        return sorted(str(found) for key, found in now.items() if key not in self._reported)

    def _label(self, test: str) -> str:
        return f"{self.process} {test}"

    def _update_label(self) -> None:
        if self._proxy is not None:
            self._proxy.by = self._label("" if self._wider else self._test)


def shared(daemon: Daemon, proxy: LabellingProxy, inside: str) -> Daemon:
    """The same daemon, reached through the labelling proxy, inside its container too."""
    record = dataclasses.replace(daemon.record, host=f"unix://{proxy.path}")
    return dataclasses.replace(daemon, record=record, _inside=f"unix://{inside}")
