"""The `cache` command's answers, as far as they need no engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_dind import __main__ as command
from pytest_dind.lifetime import labels
from pytest_dind.store.contents import Cache, Removal, Root
from pytest_dind.store.seeding import VOLUME

from ..support import Answer, FakeEngine, Reply

_ROOT = Root(
    key="d-1",
    size=317_000_000,
    used=0,
    images=("busybox", "postgres:17"),
    held=True,
    daemons=("pytest-dind-0123abcd-main",),
)
_NO_IMAGE = Answer(404, {"message": "No such image"})
_FREE = Root(key="d-2", size=2_360_000, used=0, images=("busybox",), held=False, daemons=())


class _Store:
    """What stands for the store: its roots, and what was done to it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.removed: list[str] = []
        self.discarded = False
        self.roots = [_ROOT, _FREE]
        patch.setattr(Cache, "roots", lambda cache: (self.roots, 319_000_000))
        patch.setattr(Cache, "remove", lambda cache, keys: self._remove(keys))
        patch.setattr(Cache, "prune", lambda cache, size: Removal((size,), (), ()))
        patch.setattr(Cache, "discard", lambda cache: self._discard())

    def _remove(self, keys: list[str]) -> Removal:
        held = tuple(root.key for root in self.roots if root.held and root.key in keys)
        free = tuple(root.key for root in self.roots if not root.held and root.key in keys)
        return Removal(free, held, tuple({*keys} - {*held} - {*free}))

    def _discard(self) -> bool:
        self.discarded = True
        return True


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> _Store:
    """A store with two golden roots, one of them in use."""
    return _Store(monkeypatch)


def test_ls(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each golden root: its size, its images, and the daemons that have it."""
    assert command.main(["cache", "ls"]) == 0
    head, first, second, total = capsys.readouterr().out.splitlines()

    assert head.split() == ["KEY", "SIZE", "LAST", "USED", "IMAGES", "IN", "USE"]
    assert first.startswith("d-1   317 MB ")
    assert first.endswith(" busybox, postgres:17   pytest-dind-0123abcd-main")
    assert second.startswith("d-2   2.36 MB ")
    assert second.endswith("   no")
    assert total.startswith("319 MB in all")


def test_ls_of_many_images(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Of many names a line has the first ones, and digests by their first digits."""
    digest = "registry.example/a@sha256:" + "0f" * 32
    names = (digest, *(f"registry.example/team/image:{number}" for number in range(20)))
    store.roots = [Root("d-1", 1, 0, names, held=False, daemons=())]
    assert command.main(["cache", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 100
    assert "   registry.example/a@sha256:0f0f0f0f0f0f, +20   " in lines[1]
    assert command.main(["cache", "ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["roots"][0]["images"] == list(names)


def test_ls_of_an_unknown_user(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A golden root that is held by a container without labels is in use all the same."""
    store.roots = [Root("d-1", 1, 0, (), held=True, daemons=())]
    assert command.main(["cache", "ls"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("yes")


def test_ls_json(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts get all of it, with sizes in bytes."""
    assert command.main(["cache", "ls", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)

    assert found["size"] == 319_000_000
    assert found["roots"][0] == {
        "key": "d-1",
        "size": 317_000_000,
        "used": 0,
        "images": ["busybox", "postgres:17"],
        "held": True,
        "daemons": ["pytest-dind-0123abcd-main"],
        "snapshot": "",
    }


@pytest.mark.parametrize(
    ("key", "code", "out", "error"),
    [
        ("d-2", 0, "d-2\n", ""),
        ("d-1", 1, "", "pytest-dind: a daemon uses d-1; it stays\n"),
        ("d-3", 1, "", "pytest-dind: no 'd-3' in the warm store; 'pytest-dind cache ls' lists "),
    ],
)
def test_rm(
    store: _Store, capsys: pytest.CaptureFixture[str], key: str, code: int, out: str, error: str
) -> None:
    """What nobody uses goes and is named; the rest is an error that says why it stays."""
    assert command.main(["cache", "rm", key]) == code
    said = capsys.readouterr()
    assert said.out == out
    assert said.err.startswith(error)
    assert not store.discarded


def test_rm_all(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The volume goes with the last golden root, but not while one is in use."""
    assert command.main(["cache", "rm", "--all"]) == 1
    assert capsys.readouterr().out == "d-2\n"
    assert not store.discarded
    store.roots = [_FREE]
    assert command.main(["cache", "rm", "--all"]) == 0
    assert store.discarded


def test_prune(store: _Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The size is as the option has it; a bad one is an error that names good ones."""
    assert command.main(["cache", "prune", "--size", "2g"]) == 0
    assert capsys.readouterr().out == "2g\n"
    assert command.main(["cache", "prune"]) == 0
    assert capsys.readouterr().out == "10g\n"
    assert command.main(["cache", "prune", "--size", "much"]) == 1
    assert "a size such as 500m or 10g" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["cache"], ["cache", "rm"], ["cache", "rm", "k", "--all"]])
def test_usage(arguments: list[str]) -> None:
    """A command that doesn't say what to do is a usage error."""
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ([], "no image gone:1 and no image docker:dind"),
        (["--image=other:1"], "no image other:1"),
    ],
)
def test_no_image_to_look_with(
    short_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], missing: str
) -> None:
    """A look pulls no image: without one it says so, and names the flag for another."""
    pulled: list[str] = []

    def pull() -> Answer:
        pulled.append("an image")
        return Answer(500, {"message": "no"})

    answers: dict[str, Reply] = {
        f"GET /volumes/{VOLUME}": Answer(body={"Labels": {labels.IMAGE: "gone:1"}}),
        "GET /images/gone:1/json": _NO_IMAGE,
        "GET /images/docker:dind/json": _NO_IMAGE,
        "GET /images/other:1/json": _NO_IMAGE,
        "POST /images/create": pull,
    }
    with FakeEngine(short_path / "e.sock", answers) as fake:
        assert command.main(["cache", "ls", f"--host={fake.host}", *given]) == 1
    said = capsys.readouterr().err

    assert not pulled
    assert f"The engine has {missing}." in said
    assert "shell, flock and du: --image IMAGE." in said
    assert "- Bring it there: docker pull " in said


def test_image_to_look_with(short_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the image that made the store is gone, the default one is used, if it is there."""
    answers: dict[str, Reply] = {
        f"GET /volumes/{VOLUME}": Answer(body={"Labels": {labels.IMAGE: "gone:1"}}),
        "GET /images/gone:1/json": _NO_IMAGE,
        "GET /images/docker:dind/json": Answer(body={"Id": "1"}),
        "POST /containers/create": Answer(400, {"message": "made with docker:dind"}),
    }
    with FakeEngine(short_path / "e.sock", answers) as fake:
        assert command.main(["cache", "ls", f"--host={fake.host}"]) == 1

    assert "made with docker:dind" in capsys.readouterr().err
