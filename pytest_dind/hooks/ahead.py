"""The guess that a run will need the daemon: what the last run with the same options did."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from ..options import AHEAD, SETTINGS

if TYPE_CHECKING:
    import pytest

_MOST = 32
"""How many runs are remembered; each has other options, or other tests on its command line."""


def is_expected(config: pytest.Config) -> bool:
    """Tell whether this run, by the last one like it, will need the daemon of its options.

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
        return False
    if config.pluginmanager.hasplugin("dsession") and settings.scope != "session":
        return False
    return _key(config) in _known(config)


def note(config: pytest.Config, *, needed: bool) -> None:
    """Remember whether this run needed the daemon of its options, for the next one like it."""
    if hasattr(config, "workerinput") or getattr(config, "cache", None) is None:
        return
    known, key = _known(config), _key(config)
    if (key in known) != needed:
        kept = [other for other in known if other != key]
        config.cache.set(AHEAD, [*kept, key][-_MOST:] if needed else kept)


def _known(config: pytest.Config) -> list[str]:
    """Return the runs that needed it, the last at the end."""
    found = config.cache.get(AHEAD, [])
    return found if isinstance(found, list) else []


def _key(config: pytest.Config) -> str:
    """Return what tells runs apart: the command line, from where it was given, and the settings."""
    params = config.invocation_params
    words = [str(params.dir), *map(os.fspath, params.args), repr(config.stash[SETTINGS])]
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:16]
