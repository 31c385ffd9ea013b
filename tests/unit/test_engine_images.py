"""Images: found, pulled, loaded, or an error that says which of it failed."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from pytest_dind import BuildFailed, ImageUnavailable
from pytest_dind.engine import archives, builds, images, steps, streams

from ..support import Answer, FakeEngine, Reply

_FOUND = Answer(body={"Id": "sha256:1", "Config": {}})
_MISSING = Answer(404, {"message": "No such image: some:tag"})


class _Engine:
    """A client on a fake engine, and what was said meanwhile."""

    def __init__(self, path: Path, answers: dict[str, Reply]) -> None:
        self._engine = FakeEngine(path, answers)
        self.said: list[str] = []

    def __enter__(self) -> _Engine:
        self._engine.__enter__()
        self.client = docker.DockerClient(self._engine.host, version="1.41")
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self._engine.__exit__(None, None, None)


def _events(*events: dict[str, Any]) -> Answer:
    return Answer(body="".join(f"{json.dumps(event)}\r\n" for event in events))


def _failure(engine: _Engine) -> str:
    with pytest.raises(ImageUnavailable) as caught:
        images.ImageSource(engine.client, engine.said.append).ensure("some:tag")
    return str(caught.value)


def test_image_that_is_there(short_path: Path) -> None:
    """An image that the engine has is not pulled, and nothing is said."""
    with _Engine(short_path / "s", {"GET /images/some:tag/json": _FOUND}) as engine:
        found = images.ImageSource(engine.client, engine.said.append).ensure("some:tag")

    assert found["Id"] == "sha256:1"
    assert engine.said == []


def test_image_that_is_pulled(short_path: Path) -> None:
    """An image that is missing is pulled, and a line before and after says so."""
    looks: Iterator[Answer] = iter([_MISSING])
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": lambda: next(looks, _FOUND),
        "POST /images/create": _events({"status": "Pulling"}, {"status": "Downloaded"}),
    }
    with _Engine(short_path / "s", answers) as engine:
        found = images.ImageSource(engine.client, engine.said.append).ensure("some:tag")

    assert found["Id"] == "sha256:1"
    assert engine.said == ["pulling some:tag", "", "pulled some:tag"]


def test_pull_that_takes_long(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull that takes long tells how much of its layers is here."""
    monkeypatch.setattr(steps, "_AFTER_SECONDS", 0)
    monkeypatch.setattr(steps, "_BETWEEN_SECONDS", 0)
    looks: Iterator[Answer] = iter([_MISSING])

    def event(layer: str, status: str, **detail: int) -> dict[str, Any]:
        return {"id": layer, "status": status, "progressDetail": detail}

    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": lambda: next(looks, _FOUND),
        "POST /images/create": _events(
            event("tag", "Pulling from some"),
            event("a", "Downloading", current=5_000_000, total=20_000_000),
            event("b", "Downloading", current=1_000_000, total=10_000_000),
            event("a", "Download complete"),
            event("a", "Extracting", current=1_000_000, total=20_000_000),
        ),
    }
    with _Engine(short_path / "s", answers) as engine:
        images.ImageSource(engine.client, engine.said.append).ensure("some:tag")

    assert engine.said == [
        "pulling some:tag",
        "pulling some:tag: 0 s",
        "pulling some:tag: 5 of 20 MB",
        "pulling some:tag: 6 of 30 MB",
        "pulling some:tag: 21 of 30 MB",
        "pulling some:tag: 21 of 30 MB",
        "",
        "pulled some:tag",
    ]


def test_pull_whose_size_is_not_known_yet(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a layer's size is not known, no sum of sizes is told; nor is a rate, once all is here.

    An engine downloads some layers at a time, and tells the sizes of others later.
    """
    monkeypatch.setattr(steps, "_AFTER_SECONDS", 0)
    monkeypatch.setattr(steps, "_BETWEEN_SECONDS", 0)
    looks: Iterator[Answer] = iter([_MISSING])
    detail = {"current": 5_000_000, "total": 5_000_000}
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": lambda: next(looks, _FOUND),
        "POST /images/create": _events(
            {"id": "b", "status": "Waiting"},
            {"id": "a", "status": "Downloading", "progressDetail": detail},
            {"id": "b", "status": "Downloading", "progressDetail": detail},
        ),
    }
    with _Engine(short_path / "s", answers) as engine:
        images.ImageSource(engine.client, engine.said.append).ensure("some:tag")

    assert engine.said[2:4] == [
        "pulling some:tag: 5 MB, layers to come: 1",
        "pulling some:tag: 10 of 10 MB, unpacking",
    ]


def test_pull_that_is_refused(short_path: Path) -> None:
    """A pull that the engine refuses is an error with its words and three ways on."""
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": _MISSING,
        "POST /images/create": Answer(404, {"message": "pull access denied for some"}),
    }
    with _Engine(short_path / "s", answers) as engine:
        assert _failure(engine) == (
            "The image 'some:tag' is not on the outer engine and cannot be pulled.\n"
            "Evidence:\n"
            "  Cause: The registry does not give the image to this user, or has none of this "
            "name.\n"
            "  pull access denied for some\n"
            "To fix this, either:\n"
            "  - Check the name for a typing error.\n"
            "  - Log in (docker login): the engine and the daemons of this run have the "
            "credentials.\n"
            "  - Put it there by other means: docker load, or docker build -t some:tag .\n"
            "  - Check the way to the registry, and docker login."
        )


def test_pull_through_a_proxy(short_path: Path) -> None:
    """Where the engine goes through a proxy, a pull's error says which: its answer it may be."""
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": _MISSING,
        "POST /images/create": Answer(500, {"message": 'malformed HTTP status code "mail"'}),
        "GET /info": Answer(body={"HttpProxy": "", "HttpsProxy": "http://mail.example:25"}),
    }
    with _Engine(short_path / "s", answers) as engine:
        assert (
            '  malformed HTTP status code "mail"\n'
            "  This may be the answer of the engine's proxy: HttpsProxy http://mail.example:25.\n"
        ) in _failure(engine)


_FAILURES = [{"error": "unexpected EOF"}, {"errorDetail": {"message": "unexpected EOF"}}]


@pytest.mark.parametrize("failure", _FAILURES, ids=["error", "errorDetail"])
def test_pull_that_breaks(short_path: Path, failure: dict[str, Any]) -> None:
    """A pull that begins and then fails is the same error, in whichever way it is told."""
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": _MISSING,
        "POST /images/create": _events({"status": "Pulling"}, failure),
    }
    with _Engine(short_path / "s", answers) as engine:
        assert "unexpected EOF" in _failure(engine)
    assert engine.said == ["pulling some:tag", ""]


def test_pull_that_is_cut_off(short_path: Path) -> None:
    """An answer that ends amid an event is a pull that failed, not an error of the client's."""
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": _MISSING,
        "POST /images/create": Answer(body='{"status": "Pulling"}\r\n{"status": "Down'),
    }
    with _Engine(short_path / "s", answers) as engine:
        assert "cannot be pulled.\n" in _failure(engine)


def test_pull_that_brings_nothing(short_path: Path) -> None:
    """An engine that doesn't have what it says it has pulled is told as that."""
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": _MISSING,
        "POST /images/create": _events({"status": "Downloaded"}),
    }
    with _Engine(short_path / "s", answers) as engine:
        assert "says that it has pulled it, but does not have it" in _failure(engine)


_EVENT = '{"id": "a", "status": "Downloading", "progressDetail": {"current": 1, "total": 2}}\r\n'


def _hung(over: threading.Event) -> Iterator[str]:
    """Not a word, until it is over."""
    over.wait(20)
    yield ""


def _stalled(over: threading.Event) -> Iterator[str]:
    """A word, and then none."""
    yield _EVENT
    over.wait(20)


def _repeated(over: threading.Event) -> Iterator[str]:
    """The same word again and again, as engines with containerd's image store say it."""
    for _ in range(400):
        yield _EVENT
        if over.wait(0.05):
            return


@pytest.mark.parametrize("stream", [_hung, _stalled, _repeated])
def test_pull_that_is_silent(
    short_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stream: Callable[[threading.Event], Iterator[str]],
) -> None:
    """A registry that sends nothing for too long is told as that, with the image and how long."""
    monkeypatch.setattr(images, "PULL_SILENCE_SECONDS", 0.3)
    over = threading.Event()

    def answer() -> Answer:
        if stream is _hung:
            # The head of the answer comes with its first word.
            over.wait(20)
        return Answer(body=stream(over))

    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": _MISSING,
        "POST /images/create": answer,
    }
    with _Engine(short_path / "s", answers) as engine:
        try:
            text = _failure(engine)
        finally:
            over.set()

    assert text.startswith(
        "The image 'some:tag' is not on the outer engine and cannot be pulled: its registry has "
        "sent nothing for 0.3 s.\nEvidence:\n"
    )
    assert "docker pull some:tag" in text


def test_pull_that_is_quiet(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull may be quiet for longer than other calls to an engine may take."""
    looks: Iterator[Answer] = iter([_MISSING])

    def slow() -> Iterator[str]:
        yield _EVENT
        threading.Event().wait(0.6)
        yield '{"status": "Downloaded"}\r\n'

    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": lambda: next(looks, _FOUND),
        "POST /images/create": lambda: Answer(body=slow()),
    }
    with _Engine(short_path / "s", answers) as engine:
        monkeypatch.setattr(engine.client.api, "timeout", 0.2)
        source = images.ImageSource(engine.client, engine.said.append)
        assert source.ensure("some:tag")["Id"] == "sha256:1"

    assert source.pulled >= 0.6
    assert source.seconds < source.pulled


def test_pull_with_a_login(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pull is one of the user's, who is logged in to the registry by docker login."""
    login = {"auths": {"registry.example": {"auth": "dXNlcjpzZWNyZXQ="}}}
    (tmp_path / "config.json").write_text(json.dumps(login))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    answers: dict[str, Reply] = {
        "GET /images/registry.example/some/json": _MISSING,
        "POST /images/create": _events(),
    }
    with _Engine(short_path / "s", answers) as engine:
        asked: list[dict[str, Any]] = []
        post = engine.client.api._post  # type: ignore[attr-defined]

        def noted(url: str, **how: Any) -> Any:
            asked.append(how)
            return post(url, **how)

        monkeypatch.setattr(engine.client.api, "_post", noted)
        with pytest.raises(ImageUnavailable):
            images.ImageSource(engine.client, print).ensure("registry.example/some")

    assert asked[0]["params"] == {"fromImage": "registry.example/some", "tag": "latest"}
    sent = json.loads(base64.urlsafe_b64decode(asked[0]["headers"]["X-Registry-Auth"]))
    assert (sent["username"], sent["password"]) == ("user", "secret")


@pytest.mark.parametrize(
    "answer",
    [
        _events({"error": "no space left on device"}),
        _events({"errorDetail": {"message": "no space left on device"}}),
        Answer(500, {"message": "no space"}),
    ],
)
def test_load_that_fails(short_path: Path, answer: Answer) -> None:
    """An image that the daemon can't take is an error that names the disk."""
    outer: dict[str, Reply] = {
        "GET /images/some:tag/json": _FOUND,
        "GET /images/get": Answer(body="a tar, as it were"),
    }
    with (
        _Engine(short_path / "outer", outer) as engine,
        _Engine(short_path / "inner", {"POST /images/load": answer}) as daemon,
        pytest.raises(ImageUnavailable) as caught,
    ):
        images.ImageSource(engine.client, engine.said.append).load(daemon.client, ["some:tag"])

    text = str(caught.value)
    assert "The image 'some:tag' could not be loaded into the daemon." in text
    assert "no space" in text
    assert "Check that the engine's disk has room (docker system df)." in text


def test_load_that_is_cut_off(short_path: Path) -> None:
    """A daemon that dies amid its answer has not taken the image, and the error says so."""
    outer: dict[str, Reply] = {
        "GET /images/some:tag/json": _FOUND,
        "GET /images/get": Answer(body="a tar, as it were"),
    }
    answer = Answer(body='{"stream": "Loading"}\r\n{"str')
    with (
        _Engine(short_path / "outer", outer) as engine,
        _Engine(short_path / "inner", {"POST /images/load": answer}) as daemon,
        pytest.raises(ImageUnavailable, match="could not be loaded"),
    ):
        images.ImageSource(engine.client, engine.said.append).load(daemon.client, ["some:tag"])


@pytest.mark.parametrize("failure", _FAILURES, ids=["error", "errorDetail"])
def test_build_that_fails(short_path: Path, tmp_path: Path, failure: dict[str, Any]) -> None:
    """A build that fails is an error, also where an older image has the name already."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    build = builds.build_of(tmp_path, "some:tag", {})
    answers: dict[str, Reply] = {
        "GET /images/some:tag/json": _FOUND,
        "POST /build": _events({"stream": "Step 1/1 : FROM scratch\n"}, failure),
    }
    with (
        _Engine(short_path / "s", answers) as engine,
        pytest.raises(BuildFailed, match="some:tag") as caught,
    ):
        builds.by_api(engine.client, build, steps.Step(engine.said.append, ""))

    assert caught.value.evidence.splitlines()[1:] == ["Step 1/1 : FROM scratch", "unexpected EOF"]


_BAD_NAME = Answer(400, {"message": "invalid reference format: repository name must be lowercase"})


@pytest.mark.parametrize(
    ("name", "evidence"), [("Some:tag", "must be lowercase"), ("", "It is empty.")]
)
def test_name_that_is_none(short_path: Path, name: str, evidence: str) -> None:
    """What can't be an image's name is an error of its own, not the engine's bare answer."""
    with (
        _Engine(short_path / "s", {f"GET /images/{name}/json": _BAD_NAME}) as engine,
        pytest.raises(ImageUnavailable) as caught,
    ):
        images.ImageSource(engine.client, engine.said.append).ensure(name)

    text = str(caught.value)
    assert text.startswith(f"{name!r} is not an image's name.")
    assert evidence in text
    assert "Write it as docker images does" in text


def test_load_that_is_not_answered(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that says nothing for too long is told; for a load that is longer than usual."""
    over = threading.Event()

    def never() -> Answer:
        over.wait(20)
        return Answer(500)

    outer: dict[str, Reply] = {
        "GET /images/some:tag/json": _FOUND,
        "GET /images/get": Answer(body="a tar, as it were"),
    }
    with (
        _Engine(short_path / "outer", outer) as engine,
        _Engine(short_path / "inner", {"POST /images/load": never}) as daemon,
    ):
        assert daemon.client.api.timeout < streams.SILENCE_SECONDS
        monkeypatch.setattr(streams, "SILENCE_SECONDS", 0.2)
        usual = daemon.client.api.timeout
        with pytest.raises(ImageUnavailable, match="could not be loaded") as caught:
            images.ImageSource(engine.client, engine.said.append).load(daemon.client, ["some:tag"])
        over.set()
        assert daemon.client.api.timeout == usual

    assert "timed out" in caught.value.evidence


def test_image_with_two_names_is_counted_once(short_path: Path) -> None:
    """What is to be sent of an image that is loaded by two names is its size, not twice that."""
    sizes: list[int | None] = []

    def send(*_: Any, total: int) -> list[str]:
        sizes.append(total)
        return []

    there: dict[str, Reply] = {
        f"GET /images/{name}/json": Answer(body={"Id": f"sha256:{number}", "Size": 5})
        for name, number in (("a:1", 1), ("a:2", 1), ("b:1", 2))
    }
    answers = {**there, "GET /images/get": Answer(body="")}
    with _Engine(short_path / "s", answers) as engine, pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "send", send)
        source = images.ImageSource(engine.client, engine.said.append)
        source.load(engine.client, ["a:1", "a:2", "b:1"])

    assert sizes == [10]


@pytest.mark.parametrize(
    ("asked", "said", "gets", "requests"),
    [
        # As Docker has it: nothing to be done.
        (["a:1"], "a:1", ["a:1"], []),
        (["a"], "localhost/a:latest", ["a:latest"], ["tag a:latest", "remove a:latest"]),
        # One line for all of an archive.
        (
            ["a:1", "b:1"],
            "localhost/a:1,localhost/b:1",
            ["a:1", "b:1"],
            ["tag a:1", "remove a:1", "tag b:1", "remove b:1"],
        ),
        # Who asks for the long name as well has both.
        (["localhost/a:1", "a:1"], "localhost/a:1", ["localhost/a:1", "a:1"], ["tag a:1"]),
        (["sha256:1"], "localhost/a:1", ["localhost/a:1"], []),
    ],
)
def test_image_is_loaded_by_the_name_that_was_asked_for(
    short_path: Path, asked: list[str], said: str, gets: list[str], requests: list[str]
) -> None:
    """Podman completes a short name in what it sends; the daemon has the one that was asked for."""
    done: list[str] = []

    def note(what: str, status: int) -> Callable[[], Answer]:
        def answer() -> Answer:
            done.append(what)
            return Answer(status, [])

        return answer

    names = [name.rpartition("/")[2] for name in said.split(",")]
    there: dict[str, Reply] = {
        "GET /images/get": Answer(body=""),
        "POST /images/load": _events({"stream": f"Loaded image: {said}"}),
    }
    for name in asked:
        tagged = name if ":" in name else f"{name}:latest"
        tags = [said] if name.startswith("sha256") else [f"localhost/{tagged}"]
        if name.startswith("localhost/"):
            tags = [tagged]
        there[f"GET /images/{name}/json"] = Answer(body={"Id": "sha256:1", "RepoTags": tags})
    daemon: dict[str, Reply] = {"POST /images/load": there["POST /images/load"]}
    for name in names:
        full = f"/images/localhost/{name}"
        daemon[f"GET {full}/json"] = Answer(body={"Id": "sha256:1", "RepoTags": []})
        daemon["POST /images/sha256:1/tag"] = note(f"tag {name}", 201)
        daemon[f"DELETE {full}"] = note(f"remove {name}", 200)
    with _Engine(short_path / "s", there) as outer, _Engine(short_path / "d", daemon) as inner:
        source = images.ImageSource(outer.client, outer.said.append)
        loaded = source.load(inner.client, asked)

    assert loaded == gets
    assert sorted(word.split()[0] for word in done) == sorted(one.split()[0] for one in requests)


def test_short_name_of_a_daemon_that_completes_it_too(short_path: Path) -> None:
    """A Podman that loads its own image, as in mode socket, keeps it by its one name."""
    details = Answer(body={"Id": "sha256:1", "RepoTags": ["localhost/a:1"]})
    answers: dict[str, Reply] = {
        "GET /images/a:1/json": details,
        "GET /images/get": Answer(body=""),
        "POST /images/load": _events({"stream": "Loaded image: localhost/a:1"}),
    }
    with _Engine(short_path / "s", answers) as engine:
        source = images.ImageSource(engine.client, engine.said.append)
        assert source.load(engine.client, ["a:1"]) == ["localhost/a:1"]
