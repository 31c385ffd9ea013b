"""The images the tests use: pulled, or made from Debian packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _console
import _docker_binary
import _images
import _roots


@pytest.mark.parametrize(
    ("there", "rebuild", "reachable", "pulls", "expected"),
    [
        (True, False, True, True, []),
        (False, False, True, True, ["pull", "pull"]),
        (False, False, True, False, ["pull", "build", "pull", "build"]),
        (False, False, False, True, ["build", "build"]),
        (True, True, False, True, ["build", "build"]),
    ],
)
def test_images_are_pulled_if_a_registry_answers_and_else_built(
    monkeypatch: pytest.MonkeyPatch,
    there: bool,
    rebuild: bool,
    reachable: bool,
    pulls: bool,
    expected: list[str],
) -> None:
    """What is there stays unless it is to be made anew; a failed pull is followed by a build."""
    done: list[str] = []

    def pull(_client: Any, _name: str) -> bool:
        done.append("pull")
        return pulls

    monkeypatch.setattr(_images, "image_id", lambda _client, _name: "id" if there else None)
    monkeypatch.setattr(_images, "registry_answers", lambda _client: reachable)
    monkeypatch.setattr(_images, "pull", pull)
    monkeypatch.setattr(_images, "build", lambda _client, _name: done.append("build"))
    client: Any = None
    _images.ensure(client, rebuild=rebuild)
    assert done == expected


@pytest.mark.parametrize("others", [[], [*_images.SUITES, *_docker_binary.RELEASES]])
def test_images_of_other_releases_are_made_on_request(
    monkeypatch: pytest.MonkeyPatch, others: Sequence[str]
) -> None:
    """Each is of the Debian suite that has the release, and of the image that Docker publishes."""
    made: list[str] = []
    monkeypatch.setattr(_images, "image_id", lambda _client, _name: None)
    monkeypatch.setattr(_images, "registry_answers", lambda _client: False)
    monkeypatch.setattr(_images, "build", lambda _client, name: made.append(name))
    client: Any = None
    _images.ensure(client, others=others)

    assert made == [_images.DAEMON, _images.NESTED, *others]
    for name in others:
        assert _images.SOURCES[name] == f"docker:{name.rpartition(':')[2]}-dind"


def test_another_image_is_pulled_for_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the name that the tests use, in place of what had it."""
    pulled: list[tuple[str, str]] = []

    def pull(_client: Any, name: str, source: str) -> bool:
        pulled.append((name, source))
        return True

    monkeypatch.setattr(_images, "image_id", lambda _client, _name: None)
    monkeypatch.setattr(_images, "pull", pull)
    client: Any = None
    _images.take(client, "docker:28-dind")
    assert pulled == [(_images.DAEMON, "docker:28-dind")]


def test_no_other_image_stands_for_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it can't be pulled, none is made of packages: that would be of another release."""
    monkeypatch.setattr(_images, "image_id", lambda _client, _name: None)
    monkeypatch.setattr(_images, "pull", lambda *_given: False)
    client: Any = None
    with pytest.raises(_console.Problem) as raised:
        _images.take(client, "docker:28-dind")
    assert str(raised.value) == (
        "daemons can't be of docker:28-dind\n"
        "  seen: the engine does not have it, and the pull failed, as the line above says\n"
        "  to fix: check the name, and give this engine a way to the registry"
    )


@pytest.mark.parametrize(
    ("name", "suites"),
    [(_images.DAEMON, ("sid", "stable")), ("pytest-dind/daemon:20.10", ["bookworm"])],
)
def test_suite_of_an_image(
    monkeypatch: pytest.MonkeyPatch, name: str, suites: Sequence[str]
) -> None:
    """An older release is made of its suite alone."""
    asked: list[object] = []

    def daemon(_scratch: Path, of: Sequence[str]) -> Path:
        asked.append(of)
        return Path()

    monkeypatch.setattr(_roots, "daemon", daemon)
    monkeypatch.setattr(_images, "import_archive", lambda *_given: None)
    client: Any = None
    _images.build(client, name)
    assert asked == [suites]


@pytest.mark.parametrize(("suite", "has_cli"), [("bookworm", False), ("trixie", True)])
def test_packages_of_a_suite(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suite: str, has_cli: bool
) -> None:
    """The command line is a package of its own in newer suites alone."""
    commands: list[list[str]] = []
    monkeypatch.setattr(_roots, "require_debootstrap", lambda *_given: None)
    monkeypatch.setattr(_roots, "run", lambda command, *_given, **_how: commands.append(command))
    monkeypatch.setattr(_roots, "debian_mirror", list)
    _roots.daemon(tmp_path, [suite])
    (included,) = (word for word in commands[0] if word.startswith("--include="))
    assert ("docker-cli" in included.split(",")) is has_cli


def test_only_root_can_build_the_daemon_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The other way out, a registry, is named too."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(_console.Problem, match="the daemon image is missing") as caught:
        _roots.daemon(tmp_path)
    assert "run `images` as root, or give this engine a way to a registry" in caught.value.remedy


def test_the_next_suite_is_taken_when_the_first_is_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The suite sid may be broken any day; then the image comes from stable, and that is said."""
    tried: list[str] = []

    def bootstrap(suite: str, root: Path, *_given: object) -> None:
        tried.append(suite)
        if suite == "sid":
            raise _console.Problem("no sid", "404", "wait")
        root.mkdir()

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(_roots, "program", lambda _name: "/x")
    monkeypatch.setattr(_roots, "bootstrap", bootstrap)
    archive = _roots.daemon(tmp_path)
    assert tried == ["sid", "stable"]
    assert archive.exists()
    assert "the next suite then:\nno sid" in capsys.readouterr().out


def test_a_scratch_directory_is_gone_after_a_failure() -> None:
    """Nothing is left of a build that was interrupted."""
    with pytest.raises(KeyboardInterrupt), _roots.scratch_directory() as scratch:  # noqa: PT012
        (scratch / "usr").mkdir()
        raise KeyboardInterrupt
    assert not scratch.exists()


def test_the_machines_debian_mirror_is_used() -> None:
    """Security archives and those of others are no place to bootstrap from."""
    targets = (
        "Other main http://other/apt/\n"
        "Debian main http://mirror/debian-security/\n"
        "Debian contrib http://mirror/contrib/\n"
        "Debian main http://mirror/debian/\n"
    )
    assert _roots.mirror_of(targets) == ["http://mirror/debian"]
    assert _roots.mirror_of("Ubuntu main http://mirror/ubuntu/\n") == []
