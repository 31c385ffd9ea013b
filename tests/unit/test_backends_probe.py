"""The probe container: what the engine is asked for, what is made of it, and that it goes."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from docker.errors import APIError, ImageNotFound, NotFound
from requests.exceptions import ConnectionError as Broken
from requests.exceptions import ReadTimeout

from pytest_dind import ImageUnavailable
from pytest_dind.backends import probe
from pytest_dind.backends.registry import Probe
from pytest_dind.engine.engine import Engine
from pytest_dind.lifetime import labels, layout

from ..support import Answer, FakeEngine, Reply


class _Engine:
    """An engine that is none, with what it was asked."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.engine = Mock()
        self.engine.patient.return_value.info.return_value = {}
        self.engine.patient.return_value.own_container_id = "c0ffee"
        self.engine.patient.return_value.url = "unix:///nowhere"
        self.engine.patient.return_value.info.return_value = {"SecurityOptions": ["name=userns"]}
        self.api: Any = self.engine.patient.return_value.client.api
        self.api.create_host_config.side_effect = dict
        self.api.wait.return_value = {"StatusCode": 0}
        self.api.logs.return_value = b"seen\n"

    def look(self, *command: str, **how: Any) -> probe.ProbeResult:
        return Probe(self.engine, "i:t", self.run, print)(command, **how)

    @property
    def created(self) -> dict[str, Any]:
        """What the container was created with."""
        found: dict[str, Any] = self.api.create_container.call_args.kwargs
        return found


@pytest.fixture
def fake(tmp_path: Path) -> _Engine:
    """An engine on which a probe container runs, and writes a line."""
    run = tmp_path / "0123abcd"
    run.mkdir()
    return _Engine(run)


def _error(text: str) -> APIError:
    return APIError("500 Server Error", explanation=text)


def test_engine_that_maps_users(fake: _Engine) -> None:
    """A container has the engine's own users, but not under a runtime that maps them itself."""
    fake.look("cat", "/x", privileged=True)
    assert fake.created["host_config"]["userns_mode"] == "host"
    fake.look("cat", "/x", runtime="r")
    assert "userns_mode" not in fake.created["host_config"]


def test_container(fake: _Engine) -> None:
    """The command replaces the image's own; no network; the host configuration is the mode's.

    Its log is one that can be read, whichever the engine's default is.
    """
    assert fake.look("cat", "/x", runtime="r") == probe.ProbeResult("seen\n", ran=True)

    assert fake.api.create_container.call_args.args == ("i:t",)
    assert (fake.created["entrypoint"], fake.created["command"]) == (["cat", "/x"], [])
    assert fake.created["host_config"]["runtime"] == "r"
    assert fake.created["host_config"]["network_mode"] == "none"
    assert fake.created["host_config"]["log_config"].type == "json-file"
    assert "privileged" not in fake.created["host_config"]


def test_name_and_labels(fake: _Engine) -> None:
    """It is named and labelled as the run's, so that a sweep finds one that was left."""
    fake.look("true")
    found = fake.created["labels"]

    assert fake.created["name"].startswith("pytest-dind-0123abcd-probe-")
    assert (found[labels.RUN], found[labels.ROLE]) == ("0123abcd", "probe")
    assert (found[labels.KEEP], found[labels.CONTAINER]) == ("never", "c0ffee")
    assert Path(found[labels.HOME]).parent == fake.run


def test_directory(fake: _Engine) -> None:
    """While it is there it has a directory in the run's, by which the run's reaper finds it."""
    seen: list[str] = []

    def start(name: str) -> None:
        seen.extend(
            f"pytest-dind-0123abcd-{path.name}" for path in fake.run.glob("*") if path.is_dir()
        )
        assert seen == [name]
        assert next(fake.run.glob(f"*/{layout.ENGINE}")).read_text() == "unix:///nowhere"

    fake.api.start.side_effect = start
    fake.look("true")

    assert seen
    assert not [path for path in fake.run.glob("*") if path.is_dir()]


def test_one_container_for_each_look(fake: _Engine) -> None:
    """Two looks don't get in each other's way."""
    fake.look("true")
    first = fake.created["name"]
    fake.look("true")

    assert fake.created["name"] != first


def test_image_is_made_sure_of_first(fake: _Engine) -> None:
    """An image that can't be pulled is its own error, before any container."""
    fake.engine.client.api.inspect_image.side_effect = ImageNotFound("no such image")
    fake.engine.client.api._auth_configs = {}
    fake.engine.client.api._stream_helper.return_value = [{"error": "pull access denied for i"}]
    with pytest.raises(ImageUnavailable, match="pull access denied for i"):
        fake.look("true")

    assert not fake.api.create_container.called


def test_command_that_fails(fake: _Engine) -> None:
    """A command with another exit code than 0 did not run; what it wrote is kept."""
    fake.api.wait.return_value = {"StatusCode": 3}

    assert fake.look("false") == probe.ProbeResult("seen\n", ran=False)


@pytest.mark.parametrize("call", ["create_container", "start", "wait", "logs"])
def test_engine_that_refuses(fake: _Engine, call: str) -> None:
    """An engine's refusal is its own words; the container, if there is one, is removed."""
    getattr(fake.api, call).side_effect = _error("OCI runtime create failed: no")

    assert fake.look("true") == probe.ProbeResult("OCI runtime create failed: no", ran=False)
    assert fake.api.remove_container.called


@pytest.mark.parametrize("call", ["create_container", "start", "wait", "logs"])
@pytest.mark.parametrize("error", [ReadTimeout("timed out"), Broken("timed out")], ids=repr)
def test_container_that_hangs(fake: _Engine, call: str, error: Exception) -> None:
    """A call that doesn't end in time is a container that hangs; it is removed."""
    getattr(fake.api, call).side_effect = error

    assert fake.look("true") == probe.ProbeResult("timed out", ran=False, hangs=True)
    assert fake.api.remove_container.called


@pytest.mark.parametrize(
    "error",
    [NotFound("no such container"), _error("in progress"), ReadTimeout(), Broken()],
    ids=repr,
)
def test_removal_that_fails(fake: _Engine, error: Exception) -> None:
    """What was seen counts, even when the container can't be removed."""
    fake.api.remove_container.side_effect = error

    assert fake.look("true").ran


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), _error("x"), ReadTimeout()], ids=repr)
def test_removal(fake: _Engine, error: BaseException | None) -> None:
    """The container is removed by force, its volumes too, however the look ended."""
    fake.api.wait.side_effect = error or [{"StatusCode": 0}]
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            fake.look("true")
    else:
        fake.look("true")

    fake.api.remove_container.assert_called_once_with(fake.created["name"], force=True, v=True)
    assert fake.engine.patient.return_value.close.called


def test_output_that_is_no_text(fake: _Engine) -> None:
    """Bytes that are no UTF-8 are no error."""
    fake.api.logs.return_value = b"\xff\n"

    assert fake.look("true").output == "\N{REPLACEMENT CHARACTER}\n"


def test_time_out(short_path: Path) -> None:
    """A look has a time-out of its own, apart from that of the engine's connection."""
    over = threading.Event()

    def hang() -> Answer:
        over.wait(30)
        return Answer(500, {"message": "too late"})

    answers: dict[str, Reply] = {
        "GET /version": Answer(body={"ApiVersion": "1.41"}),
        "GET /images/i:t/json": Answer(body={"Id": "sha256:1"}),
        "POST /containers/create": hang,
    }
    with FakeEngine(short_path / "s", answers) as fake, contextlib.closing(Engine(fake.host)) as on:
        began = time.monotonic()
        try:
            sight = Probe(on, "i:t", short_path, print)(["true"], seconds=1)
        finally:
            over.set()

    assert sight.hangs
    assert time.monotonic() - began < 10
