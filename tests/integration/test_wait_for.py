"""Waits for nested containers: for what comes true, and for what can't."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from conftest import NESTED_IMAGE
from pytest_dind import ContainerFailed, ContainerTimeout, Daemon, DaemonLost, SettingsError

from .conftest import StartDaemon

RunNested = Callable[..., Container]
_SECOND = 1_000_000_000


@pytest.fixture
def run(dind_client: docker.DockerClient) -> Iterator[RunNested]:
    """Runs nested containers of a shell script, which are gone after the test."""
    made: list[Container] = []

    def run(script: str, **options: Any) -> Container:
        command = ["sh", "-c", script]
        made.append(
            dind_client.containers.run(
                NESTED_IMAGE, command, detach=True, stop_signal="KILL", **options
            )
        )
        return made[-1]

    yield run
    for container in made:
        # A test may have removed it.
        with contextlib.suppress(docker.errors.NotFound):
            container.remove(force=True)


def _health(test: str, **options: Any) -> dict[str, Any]:
    return {"test": ["CMD-SHELL", test], "interval": _SECOND // 5, "retries": 2, **options}


def test_healthy(dind_daemon: Daemon, run: RunNested) -> None:
    """A container is waited for until its health check succeeds; given by name too."""
    container = run("sleep 1; touch /ok; sleep 60", healthcheck=_health("test -e /ok", retries=99))
    dind_daemon.wait_for(container.name or "", healthy=True, timeout=30)
    container.reload()
    assert container.health == "healthy"


def test_log(dind_daemon: Daemon, run: RunNested) -> None:
    """Either output counts, from the container's start on; several lines may be asked for."""
    container = run("echo up; sleep 0.5; echo up >&2; sleep 0.2; echo '  then'; sleep 60")
    dind_daemon.wait_for(container, log=r"(^up$\s*){2}", timeout=30)
    dind_daemon.wait_for(container, log=r"^  then$", timeout=30)
    # It is there already.
    began = time.monotonic()
    dind_daemon.wait_for(container.id or "", log="up")
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("ports", [{"80/tcp": None}, None], ids=["published", "unpublished"])
def test_port(dind_daemon: Daemon, run: RunNested, ports: dict[str, None] | None) -> None:
    """A port of the container accepts connections, whether or not it is published."""
    container = run("sleep 1; httpd -f -p 80", ports=ports)
    with pytest.raises(ContainerTimeout, match="accepts connections on port 80/tcp"):
        dind_daemon.wait_for(container, port=80, timeout=0.2)
    dind_daemon.wait_for(container, port=80, timeout=30)
    assert container.exec_run(["wget", "-q", "-O", "-", "127.0.0.1/none"]).exit_code == 1
    with pytest.raises(ContainerTimeout):
        dind_daemon.wait_for(container, port=81, timeout=0.2)


def test_exited(dind_daemon: Daemon, run: RunNested) -> None:
    """A container is waited for until it has ended, with what it has written at last."""
    container = run("sleep 0.5; echo done; exit 3")
    dind_daemon.wait_for(container, exited=3, log="done", timeout=30)
    # Its log alone does not need it to run.
    dind_daemon.wait_for(container, log="done")


def test_several(dind_daemon: Daemon, run: RunNested) -> None:
    """Of several conditions all are waited for."""
    container = run(
        "httpd -p 80; sleep 1; echo late; sleep 60",
        healthcheck=_health("test -e /bin/sh"),
    )
    dind_daemon.wait_for(container, healthy=True, port=80, log="late", timeout=30)
    assert b"late" in container.logs()


@pytest.mark.parametrize(
    "what", [{"log": "ready"}, {"port": 80}, {"exited": 0}, {"healthy": True}], ids=str
)
def test_end_in_another_way(dind_daemon: Daemon, run: RunNested, what: dict[str, Any]) -> None:
    """A container that ends otherwise ends the wait, with its exit code and last log lines."""
    container = run("sleep 0.5; echo no luck; exit 7", healthcheck=_health("exit 1", retries=99))
    began = time.monotonic()
    with pytest.raises(ContainerFailed) as caught:
        dind_daemon.wait_for(container, **what)

    assert time.monotonic() - began < 20
    text = str(caught.value)
    assert f"The nested container {container.name!r} has ended; it was waited for until it" in text
    assert "It is exited, exit code 7." in text
    assert "no luck" in text
    assert "Look in its log lines for the cause." in text


def test_unhealthy(dind_daemon: Daemon, run: RunNested) -> None:
    """A health check that fails for good ends the wait, with what it said."""
    container = run("sleep 60", healthcheck=_health("echo no disk; exit 1"))
    with pytest.raises(ContainerFailed, match="is unhealthy") as caught:
        dind_daemon.wait_for(container, healthy=True)
    assert "Health check, exit code 1: no disk" in str(caught.value)


def test_no_health_check(dind_daemon: Daemon, run: RunNested) -> None:
    """A container without a health check never becomes healthy, which is said at once."""
    with pytest.raises(ContainerFailed, match="has no health check") as caught:
        dind_daemon.wait_for(run("sleep 60"), healthy=True)
    assert "healthcheck={...}" in str(caught.value)


def test_removed_meanwhile(dind_daemon: Daemon, run: RunNested) -> None:
    """A container that is removed meanwhile ends the wait."""
    container = run("sleep 60")
    timer = threading.Timer(0.5, container.remove, kwargs={"force": True})
    timer.start()
    with pytest.raises(ContainerFailed, match=r"is gone|has ended"):
        dind_daemon.wait_for(container, log="never")
    timer.join()
    with pytest.raises(ContainerFailed, match="There is no nested container") as caught:
        dind_daemon.wait_for(container, port=80)
    assert "One with remove=True is gone" in str(caught.value)


def test_no_log(dind_daemon: Daemon, run: RunNested) -> None:
    """A container whose log nobody can read is an error that names the log drivers."""
    container = run("sleep 60", log_config={"type": "none"})
    with pytest.raises(ContainerFailed, match="has no log that can be read") as caught:
        dind_daemon.wait_for(container, log="x")
    assert "json-file or local" in str(caught.value)


def test_time_out(dind_daemon: Daemon, run: RunNested) -> None:
    """What does not come true in time is told with the state and the last log lines."""
    container = run("echo still here; sleep 60")
    dind_daemon.wait_for(container, log="still")
    with pytest.raises(ContainerTimeout) as caught:
        dind_daemon.wait_for(container, log="never", timeout=0.5)

    text = str(caught.value)
    assert "was waited for until it has written 'never', in vain for 0.5 s." in text
    assert "It is running." in text
    assert "still here" in text
    assert "Give it longer: timeout=1." in text


def test_no_container(dind_daemon: Daemon) -> None:
    """What is no container is an error of the argument."""
    for given in (None, 5, b"x", ""):
        with pytest.raises(SettingsError, match=r"container=.* is not a valid value"):
            dind_daemon.wait_for(given, healthy=True)  # type: ignore[arg-type]


# docker-py leaves a socket open where nobody answers.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.requires_isolation
def test_daemon_that_is_lost(start: StartDaemon) -> None:
    """A daemon that dies meanwhile is the error for that."""
    started = start(load=(NESTED_IMAGE,))
    with contextlib.closing(started.daemon.client()) as client:
        client.containers.run(NESTED_IMAGE, ["sleep", "60"], detach=True, name="it")
    timer = threading.Timer(0.5, started.daemon.stop)
    timer.start()
    with pytest.raises(DaemonLost):
        started.daemon.wait_for("it", log="never")
    timer.join()
    gc.collect()
