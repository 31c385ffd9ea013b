"""The warning for a nested container's bind that finds nothing in the daemon."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DindWarning
from ..lifetime import layout

if TYPE_CHECKING:
    import pytest

    from ..backends.protocol import Record

_WAIT_SECONDS = 3.0
_POLL_SECONDS = 0.02


class Binds:
    """Warns, at a test's end, of what forwarders found out about binds since the last test's."""

    def __init__(self) -> None:
        self._read: dict[Path, int] = {}

    def warn(self, item: pytest.Item, records: Iterable[Record]) -> None:
        """Warn of binds that found nothing in these daemons.

        Args:
            item: The test that ends.
            records: The daemons' records.
        """
        for record in records:
            path = record.home.path / layout.BINDS
            known = self._read.get(path, 0)
            try:
                if path.stat().st_size == known:
                    continue
            except FileNotFoundError:
                continue
            for container, source in self._unseen(path, known):
                item.warn(
                    DindWarning(
                        f"The container {container!r}, started while {item.nodeid} ran, binds "
                        f"{source}, which is on this machine and not in the daemon "
                        f"{record.home.name!r}: it gets an empty directory in its place, or what "
                        f"the daemon's image has there. To have it in the daemon: --dind-mount "
                        f"{source}"
                    )
                )

    def _unseen(self, path: Path, known: int) -> list[tuple[str, str]]:
        """Return the containers and the paths that were told of anew, once all is told of them."""
        from ..engine.polling import poll

        def look() -> bytes | None:
            text = path.read_bytes()[known:]
            pending = text.count(b'"looking"') * 2 > text.count(b"\n")
            return None if pending else text

        text = poll(look, seconds=_WAIT_SECONDS, every=_POLL_SECONDS) or b""
        self._read[path] = known + len(text)
        lines = [json.loads(line) for line in text.splitlines()]
        return [(line["container"], line["path"]) for line in lines if line["verdict"] == "unseen"]
