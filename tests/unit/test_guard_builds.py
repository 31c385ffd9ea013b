"""What makes images: the labels that they get, whatever else is asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind.guard.handlers.builds import label_changes
from pytest_dind.guard.http.refusal import Refusal
from pytest_dind.guard.objects import run_labels
from pytest_dind.lifetime import labels

_LABELS = run_labels.RunLabels(
    labels.make("run", mode="socket", keep="never", home=Path("/base/run/main"))
)


def _changed(*lines: str) -> list[str]:
    exchange: Any = SimpleNamespace(match=SimpleNamespace(query={"changes": [*lines]}))
    label_changes(exchange, _LABELS)
    changes: list[str] = exchange.match.query["changes"]
    return changes


def test_labels_are_the_last_change() -> None:
    """Whatever lines a client gives, the last one is the labels'."""
    changes = _changed("ENV a=b\nENV c=d", 'LABEL "pytest-dind.home"="/elsewhere"')

    assert changes[:2] == ["ENV a=b\nENV c=d", 'LABEL "pytest-dind.home"="/elsewhere"']
    assert 'LABEL "pytest-dind.home"="/base/run/main"' in changes[2:]
    # Podman knows one label a line.
    assert all(line.startswith("LABEL ") and line.count('"="') == 1 for line in changes[2:])


@pytest.mark.parametrize(
    "lines", [["CMD a \\"], ["CMD a \\ \t"], ["# escape=`\nCMD a `"], ["CMD a \\", "# a comment"]]
)
def test_a_line_that_goes_on_in_the_next(lines: list[str]) -> None:
    """A line that would swallow the labels is refused."""
    with pytest.raises(Refusal, match="goes on in the next one"):
        _changed(*lines)
