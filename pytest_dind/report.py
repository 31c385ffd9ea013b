"""What a run's user reads of the daemons: progress while it starts, a summary at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

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


def summary(used: Iterable[Record], kept: Iterable[Record]) -> list[str]:
    """A line for each daemon of the run, and for each that stays how to use and remove it."""
    lines = [
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
