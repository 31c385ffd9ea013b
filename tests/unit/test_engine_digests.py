"""Names of images by digest, and the file in which an engine keeps its names."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind.engine import digests

_DIGEST = f"sha256:{'0' * 64}"
_CONTAINERD = [["driver-type", "io.containerd.snapshotter.v1"]]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("busybox", "busybox"),
        ("busybox:1.36", "busybox"),
        ("docker.io/library/busybox", "busybox"),
        ("docker.io/user/thing:2", "user/thing"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b"),
        ("localhost:5000/b", "localhost:5000/b"),
    ],
)
def test_reference(name: str, kept: str) -> None:
    """An engine keeps a name by digest without its tag, and in its short form."""
    assert digests.is_by_digest(f"{name}@{_DIGEST}")
    assert not digests.is_by_digest(name)
    assert digests.reference(f"{name}@{_DIGEST}") == f"{kept}@{_DIGEST}"


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("library/busybox:1", "docker.io/library/busybox:1"),
        ("user/thing:2", "docker.io/user/thing:2"),
        ("index.docker.io/user/thing:2", "docker.io/user/thing:2"),
        ("localhost:5000/b", "localhost:5000/b:latest"),
        ("localhost/b:1", "localhost/b:1"),
        ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        (f"busybox:1@{_DIGEST}", f"docker.io/library/busybox@{_DIGEST}"),
    ],
)
def test_full(name: str, full: str) -> None:
    """A name is kept by containerd with all that engines leave out."""
    assert digests.full(name) == full


def test_file_of_names() -> None:
    """The file has all names that there are, the new ones, and none of those that are to go."""
    images = [
        {"Id": "sha256:1", "RepoTags": ["a:1", "b.c:5000/a:1"], "RepoDigests": None},
        {"Id": "sha256:2", "RepoTags": ["<none>:<none>"], "RepoDigests": [f"a@{_DIGEST}"]},
        {"Id": "sha256:3", "RepoTags": ["old:latest"], "RepoDigests": []},
    ]
    client = cast(Any, SimpleNamespace(api=SimpleNamespace(images=lambda: images)))
    found = digests.references(client, {f"docker.io/x:2@{_DIGEST}": "sha256:3"}, ["old"])

    assert json.loads(found) == {
        "Repositories": {
            "a": {"a:1": "sha256:1", f"a@{_DIGEST}": "sha256:2"},
            "b.c:5000/a": {"b.c:5000/a:1": "sha256:1"},
            "x": {f"x@{_DIGEST}": "sha256:3"},
        }
    }


@pytest.mark.parametrize(
    ("status", "id_", "tags"),
    [
        (_CONTAINERD, _DIGEST, [("a/b", "sha256-000000000000")]),
        (_CONTAINERD, "sha256:1", []),
        ([["Backing Filesystem", "extfs"]], _DIGEST, []),
        (None, _DIGEST, []),
    ],
)
def test_tag(status: Any, id_: str, tags: list[tuple[str, str]]) -> None:
    """Where containerd keeps the images, one of that digest gets a tag beside its name by it."""
    given: list[tuple[str, str]] = []
    image = SimpleNamespace(tag=lambda *words: given.append(words))
    client = SimpleNamespace(
        info=lambda: {"DriverStatus": status}, images=SimpleNamespace(get=lambda id_: image)
    )
    digests.tag(cast(Any, client), f"a/b:1@{_DIGEST}", id_)
    assert given == tags
