"""What a pytest session has of this plugin's: options, settings, markers, and its part in a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from .settings import MODES, Settings

if TYPE_CHECKING:
    from .cleanup.ledger import Ledger
    from .hooks.terminal import Summary
    from .runs.run import Run

SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
RUN: pytest.StashKey[Run] = pytest.StashKey()
"""There once the run has been asked for."""
OTHERS: pytest.StashKey[list[Run]] = pytest.StashKey()
"""The runs of factories; there once one has been asked for."""
LEDGER: pytest.StashKey[Ledger] = pytest.StashKey()
"""There while what tests make in the daemon is noted."""
TEST: pytest.StashKey[str] = pytest.StashKey()
"""The test that runs."""
WIDER: pytest.StashKey[int] = pytest.StashKey()
"""How many fixtures that outlive a test are being set up, one in the other."""
SUMMARY: pytest.StashKey[Summary] = pytest.StashKey()
"""There once a process of the run has ended that may have something to say."""

XDIST_KEY = "pytest_dind"
"""The name under which xdist hands a value of ours to a worker, and back."""

CLEAN = "dind_clean"
"""A fixture and a marker."""
MARKERS = {
    "requires_sysbox": ": skipped, with the cause, unless the daemon is Sysbox's",
    "requires_isolation": ": skipped in socket mode, where the daemon is the machine's own engine",
    "requires_engine": "(specifier): skipped unless the daemon's engine is of this version, "
    'such as ">=28"',
    "dind_modes": f"(mode, ...): skipped in other modes than these ({', '.join(MODES)})",
    CLEAN: "(images=False, build_cache=False): after the test everything that it added to the "
    "daemon is removed, as by the fixture dind_clean; on request new images and build cache too.",
}
"""Their arguments and meaning, by name."""


def add_options(parser: pytest.Parser) -> None:
    """Register each option, on the command line and in ini files."""
    group = parser.getgroup("dind", "a Docker daemon for tests (pytest-dind)")
    for field in dataclasses.fields(Settings):
        repeat = field.metadata["repeatable"]
        text = field.metadata["text"]
        if repeat:
            text += "; repeatable"
        elif field.default:
            text += f" (default: {field.default})"
        bare = field.metadata["bare"]
        group.addoption(
            f"--dind-{field.name.replace('_', '-')}",
            **({"nargs": "?", "const": bare} if bare else {}),
            action="append" if repeat else "store",
            dest=f"dind_{field.name}",
            # None tells "not given" from an empty value, which wins over the ini key.
            default=None,
            metavar=field.metadata["metavar"],
            help=f"{text}; ini key: dind_{field.name}",
        )
        kind: Literal["linelist", "string"] = "linelist" if repeat else "string"
        parser.addini(f"dind_{field.name}", text, type=kind, default=None)


def from_config(config: pytest.Config) -> Settings:
    """Read the settings: the command line first, then the ini file, then the defaults.

    An empty value for a repeatable option on the command line empties the list.

    Raises:
        SettingsError: a value is not valid.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        raw = config.getoption(f"dind_{field.name}")
        if raw is None:
            raw = config.getini(f"dind_{field.name}")
        if raw is None:
            continue
        # Not at the top: a run in which no setting is given does not load the validation.
        from . import validation

        values[field.name] = validation.read(field, raw)
    return Settings(**values)


def current_run(config: pytest.Config, chosen: Settings) -> Run:
    """The run this process takes part in; begun, or joined, when first asked for."""
    from functools import partial

    from .hooks import terminal
    from .runs.run import Run

    if RUN not in config.stash:
        progress = partial(terminal.progress, config)
        joined = getattr(config, "workerinput", {}).get(XDIST_KEY)
        other = Path(joined) if joined else None
        config.stash[RUN] = (
            Run.join(other, progress, root=config.rootpath)
            if other and chosen.scope == "session"
            else Run.begin(progress, beside=other, root=config.rootpath)
        )
    return config.stash[RUN]
