"""The networks that a daemon joins, and the names there, without an engine."""

from __future__ import annotations

import subprocess
from typing import Any, cast

import pytest
import requests
from docker.errors import APIError

from pytest_dind import SettingsError
from pytest_dind.backends import names
from pytest_dind.engine import containers
from pytest_dind.engine import exec as exec_module
from pytest_dind.engine.engine import Engine

_OUTER = [
    {"Name": "bridge", "Driver": "bridge"},
    {"Name": "host", "Driver": "host"},
    {"Name": "ci_default", "Driver": "bridge"},
    {"Name": "none", "Driver": "null"},
]


def test_network_that_is_there() -> None:
    """A network that a container can join is taken."""
    names.demand("ci_default", _OUTER)


@pytest.mark.parametrize("name", ["ci", "host", "none"])
def test_network_that_cannot_be_joined(name: str) -> None:
    """Another one is an error that names those that can."""
    with pytest.raises(SettingsError, match=f"has no network '{name}'") as caught:
        names.demand(name, _OUTER)

    assert caught.value.evidence == "Networks there: bridge, ci_default."


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (subprocess.CompletedProcess([], 0, b"", b""), ""),
        (
            subprocess.CompletedProcess([], 1, b"", b"iptables-restore:\nno\n"),
            "iptables-restore: no",
        ),
        (APIError("refused", requests.Response(), "no such shell"), "no such shell"),
    ],
)
def test_names_that_cannot_be_known(
    monkeypatch: pytest.MonkeyPatch, outcome: Any, line: str
) -> None:
    """A daemon whose nested containers can't know the names works on; a line says why."""

    def run(*given: object) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(exec_module, "run", run)
    monkeypatch.setattr(names, "_ENDING_SECONDS", 0)
    details: dict[str, Any] = {"State": {"Running": True}}
    monkeypatch.setattr(containers, "inspect", lambda *given: details)
    told: list[str] = []

    class _Engine:
        client = None

    names.tell(cast("Engine", _Engine()), "pytest-dind-1-main", told.append)
    said = "names: nested containers don't know the names in the networks of pytest-dind-1-main: "
    assert told == ([said + line] if line else [])

    # A daemon that is removed while it starts, or is gone, is nobody's to be told of.
    details["State"]["Running"] = False
    names.tell(cast("Engine", _Engine()), "pytest-dind-1-main", told.append)
    details.clear()
    names.tell(cast("Engine", _Engine()), "pytest-dind-1-main", told.append)
    assert told == ([said + line] if line else [])
