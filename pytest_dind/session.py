"""What a pytest session has of this plugin's: its settings, and its part in a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from . import report, settings

if TYPE_CHECKING:
    from .sharing import Run

SETTINGS = pytest.StashKey[settings.Settings]()
RUN: pytest.StashKey[Run] = pytest.StashKey()
"""There once the run has been asked for."""

SHARED = "pytest_dind"
"""The name under which xdist hands a value of ours to a worker, and back."""


def begun(config: pytest.Config, chosen: settings.Settings) -> Run:
    """The run this process takes part in; begun, or joined, when first asked for."""
    from .sharing import Run

    if RUN not in config.stash:
        say = partial(report.say, config)
        joined = getattr(config, "workerinput", {}).get(SHARED)
        other = Path(joined) if joined else None
        config.stash[RUN] = (
            Run.join(other, say, root=config.rootpath)
            if other and chosen.scope == "session"
            else Run.begin(say, beside=other, root=config.rootpath)
        )
    return config.stash[RUN]
