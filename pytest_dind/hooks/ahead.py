"""The guess what a run will need: the daemon, or a cluster, as the last run with its options."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from ..options import AHEAD, SETTINGS

if TYPE_CHECKING:
    import pytest

DAEMON = "dind_daemon"
"""What stands for the daemon of the options; clusters have the names of their fixtures."""
_MOST = 32
"""How many runs are remembered; each has other options, or other tests on its command line."""


def expected(config: pytest.Config) -> frozenset[str]:
    """Return what this run will need, by the last one like it.

    xdist's workers don't start it: the process that has them does.
    """
    option, settings = config.option, config.stash[SETTINGS]
    only_shows = (
        option.collectonly
        or config.getoption("setupplan", False)
        or config.getoption("showfixtures", False)
        or config.getoption("show_fixtures_per_test", False)
    )
    if only_shows or settings.ahead == "off" or hasattr(config, "workerinput"):
        return frozenset()
    if config.pluginmanager.hasplugin("dsession") and settings.scope != "session":
        return frozenset()
    return frozenset(_known(config).get(_key(config), ()))


def note(config: pytest.Config, needed: Collection[str]) -> None:
    """Remember what this run needed, for the next one like it.

    Args:
        config: pytest's configuration.
        needed: `DAEMON`, and the fixtures of clusters.
    """
    if hasattr(config, "workerinput") or getattr(config, "cache", None) is None:
        return
    known, key = _known(config), _key(config)
    if set(known.get(key, ())) != set(needed):
        kept = {other: what for other, what in known.items() if other != key}
        if needed:
            kept[key] = sorted(needed)
        config.cache.set(AHEAD, dict([*kept.items()][-_MOST:]))


def _known(config: pytest.Config) -> dict[str, list[str]]:
    """Return what each run needed, that of the last at the end."""
    found = config.cache.get(AHEAD, {})
    return found if isinstance(found, dict) else {}


def _key(config: pytest.Config) -> str:
    """Return what tells runs apart: the command line, from where it was given, and the settings."""
    params = config.invocation_params
    words = [str(params.dir), *map(os.fspath, params.args), repr(config.stash[SETTINGS])]
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:16]
