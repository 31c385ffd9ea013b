"""Daemons without pytest's fixtures: for unittest, for scripts, and for what builds on the plugin.

What is promised of `dind_daemon` holds here too: the daemon is healthy when it is handed over, and
goes when the block ends, or when the process is killed.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import SettingsError
from .settings import Settings

if TYPE_CHECKING:
    from .daemon.handle import Daemon
    from .engine.streams import Progress
    from .runs.factory import Factory
    from .runs.run import Run

__all__ = ["daemon", "factory"]

# Those of a run's settings that are a single daemon's as well, or a factory's.
_OF_DAEMON = frozenset({"keep", "reuse"})
_OF_FACTORY = frozenset({"kubernetes_image"})
_OF_PYTEST = frozenset({*Settings().of_run(), "unavailable"})


@contextlib.contextmanager
def daemon(*, progress: Progress | None = None, **settings: Any) -> Iterator[Daemon]:
    """Give a daemon of its own for as long as the block lasts.

    Args:
        progress: Is called with a line on what takes long; by default such lines go to the logger
            `pytest_dind`, at level INFO.
        settings: Named as the options are, such as `mode`, `image` or `load`. In `mount`, the word
            `project` stands for the current directory, and `tmp` for nothing.

    Raises:
        SettingsError: a setting has a value that it can't have, or no effect here.
        DindError: the daemon can't be had; its start has left nothing behind.
    """
    with _run(_chosen("daemon", settings, _OF_DAEMON), progress) as (run, chosen):
        yield run.daemon(chosen)


@contextlib.contextmanager
def factory(*, progress: Progress | None = None, **settings: Any) -> Iterator[Factory]:
    """Give what starts daemons, as `dind_factory` does; they end with the block.

    Args:
        progress: As that of `daemon`.
        settings: Those that its daemons have unless they are started with others, as of `daemon`.

    Raises:
        SettingsError: a setting has a value that it can't have, or no effect here.
    """
    from .runs.factory import Factory

    with _run(_chosen("factory", settings, _OF_FACTORY), progress) as (run, chosen):
        made = Factory(run, chosen, lambda settings: contextlib.nullcontext())
        try:
            yield made
        finally:
            made.close()


def _chosen(name: str, given: dict[str, Any], allowed: frozenset[str]) -> Settings:
    """Return the settings of these values.

    Raises:
        SettingsError: one is not valid, or is of a run of pytest's.
    """
    usual = Settings()
    chosen = usual.replace(**given)
    chosen.check_files()
    for setting in sorted(_OF_PYTEST - allowed):
        if getattr(chosen, setting) != getattr(usual, setting):
            raise SettingsError(
                f"testing.{name}: {setting}={given[setting]!r} has no effect.",
                evidence="It is a setting of a run of pytest's.",
                remedy=[f"Leave {setting} out.", "Have tests run by pytest, with the fixtures."],
            )
    return chosen


@contextlib.contextmanager
def _run(chosen: Settings, progress: Progress | None) -> Iterator[tuple[Run, Settings]]:
    """Begin a run of this process's, and end it with the block."""
    from .runs.places import Places
    from .runs.run import Run

    progress = progress or logging.getLogger("pytest_dind").info
    run = Run.begin(progress, places=Places.named(Path.cwd(), None))
    failed = True
    try:
        yield run, chosen
        failed = False
    finally:
        run.close(failed=failed)
