"""The labels: whose a container is, and whether its process is gone."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from pytest_dind.lifetime import labels

from ..support import until


def test_labels_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every container has the run, owner (host and user), role and time of its making."""
    monkeypatch.setenv("LOGNAME", "somebody")
    found = labels.make("0123abcd", mode="dind", keep="never", home=Path("/h"))

    assert found["pytest-dind.run"] == "0123abcd"
    assert found["pytest-dind.owner"] == f"{socket.gethostname()},somebody"
    assert found["pytest-dind.role"] == "daemon"
    assert found["pytest-dind.created"].isdecimal()
    assert all(isinstance(value, str) for value in found.values())


def test_label_of_a_container() -> None:
    """What is made in a container has its id; outside of one there is no such label."""
    assert labels.of_container("c0ffee") == {"pytest-dind.container": "c0ffee"}
    assert labels.of_container("") == {}


def test_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom no passwd knows, as in many CI containers, is named by number."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)

    assert labels.owner() == f"{socket.gethostname()},4000000"


def test_process_that_lives() -> None:
    """This process is not gone."""
    assert not labels.is_gone(labels.process())


def test_process_that_is_gone() -> None:
    """A process id that is free again is told gone, and so is one that another process has now."""
    mine = labels.process()
    machine, pid, started = mine.rsplit(" ", 2)
    with subprocess.Popen(["true"]) as ended:
        pass

    assert labels.is_gone(f"{machine} {ended.pid} {started}")
    assert labels.is_gone(f"{machine} {pid} {int(started) - 1}")


def test_process_that_has_ended() -> None:
    """A process that was killed is gone before its parent has asked for its exit code."""
    machine = labels.process().rsplit(" ", 2)[0]
    with subprocess.Popen(["sleep", "60"]) as process:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
        label = f"{machine} {process.pid} {stat.rpartition(')')[2].split()[19]}"
        assert not labels.is_gone(label)
        process.kill()
        until(lambda: labels.is_gone(label), 10, "it is gone")
        assert process.returncode is None


@pytest.mark.parametrize("label", ["", "another-boot/pid:[1] 1 1"])
def test_process_of_which_nothing_is_known(label: str) -> None:
    """A process of another machine, or without a description, is never told gone."""
    assert not labels.is_gone(label)
