"""Which images nodes lack, by what their containerd lists."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_dind.kubernetes import images

_HEAD = "REF TYPE DIGEST SIZE PLATFORMS LABELS"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json sha256:{0}{0} 1.9 MiB linux/amd64"
_LABELS = "io.cri-containerd.image=managed"


def _node(*listed: str) -> Any:
    """A node that has these images: names in full, each with a letter for what is behind it."""
    rows = [_HEAD]
    for one in listed:
        name, _, letter = one.rpartition("=")
        rows += [
            f"{ref} {_MANIFEST.format(letter)} {_LABELS}" for ref in (name, f"sha256:{letter}")
        ]
    done = subprocess.CompletedProcess((), 0, "\n".join(rows).encode(), b"")
    return cast(Any, SimpleNamespace(_run=lambda command: done))


@pytest.mark.parametrize(
    ("name", "id_", "is_lacking"),
    [
        ("a:1", "sha256:x", False),
        # The id that an engine with containerd's image store has for it.
        ("a:1", "sha256:xx", False),
        ("a:2", "sha256:x", True),
        ("a:1", "sha256:new", True),
        ("b/c", "sha256:y", False),
        ("b/c:1", "sha256:y", True),
    ],
)
def test_lacking(name: str, id_: str, is_lacking: bool) -> None:
    """A node has an image when it has that very one, and by its name."""
    nodes = [_node("docker.io/library/a:1=x", "docker.io/b/c:latest=y")] * 2
    assert bool(images._lacking(nodes, {name: {"Id": id_}})) == is_lacking


def test_lacking_in_one() -> None:
    """An image goes to all nodes when one of them lacks it."""
    nodes = [_node("docker.io/library/a:1=x"), _node()]
    assert list(images._lacking(nodes, {"a:1": {"Id": "sha256:x"}})) == ["a:1"]


def test_nothing_is_wanted() -> None:
    """Where only archives are loaded, no node is asked."""
    assert images._lacking([cast(Any, None)], {}) == {}
