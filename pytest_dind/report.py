"""What a run's user reads of the daemons: progress while it starts, a summary at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from .backends import Choice
    from .backends.protocol import Record


def say(config: pytest.Config, text: str) -> None:
    """Print a line on what takes long, past pytest's capturing."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is None:
        return
    if capture is not None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"dind: {text}")
    else:
        reporter.write_line(f"dind: {text}")


def choice(made: Choice) -> str:
    """A line on the mode in force, and why `auto` picked it."""
    why = f"auto: {made.mode}, because {made.because}" if made.because else f"mode {made.mode}"
    return f"dind: {why}"


def summary(choices: Iterable[Choice], used: Iterable[Record], kept: Iterable[Record]) -> list[str]:
    """Why each mode, a line for each daemon, and for each that stays how to use and remove it."""
    lines = [choice(made) for made in choices if made.because]
    lines += [
        f"dind: daemon {record.home.name!r} ready in {record.seconds:.2f} s "
        f"(mode {record.mode}, Docker {record.version}, {record.driver})"
        for record in used
    ]
    for record in kept:
        lines += [
            f"dind: kept {record.home.label}; to use it, and to remove it:",
            f"  export DOCKER_HOST={record.host}",
            f"  python -m pytest_dind rm {record.home.label}",
        ]
    return lines
