"""The image of Kubernetes nodes: of what it is made, and when it is made anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _console
import _images
import _inputs
import _node_binary
import _node_image
import _roots

CLIENT: Any = None


def _program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory that is all that there is in PATH, for a go of the test's own."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setattr(_node_binary, "search_path", lambda: str(path))
    monkeypatch.setattr(_node_binary, "USUAL_PLACE", str(tmp_path / "none"))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "a").write_text("2"),
        lambda root: (root / "a").chmod(0o755),
        lambda root: (root / "a").rename(root / "c"),
        lambda root: (root / "sub" / "b").unlink(),
    ],
    ids=["content", "mode", "name", "one file less"],
)
def test_key_is_another_where_an_input_is(tmp_path: Path, change: Any) -> None:
    """Each change of a file that goes into the image makes it anew."""
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b"):
        (tmp_path / name).write_text("1")
        (tmp_path / name).chmod(0o644)
    before = _inputs.key(tmp_path)
    assert _inputs.key(tmp_path) == before
    assert _inputs.key(tmp_path, "amd64") != before
    change(tmp_path)
    assert _inputs.key(tmp_path) != before


def test_without_go_it_is_said_what_to_install(go: Path) -> None:
    """The version is the one that go.mod asks for."""
    with pytest.raises(_console.Problem) as raised:
        _node_binary.require_go()
    assert str(raised.value) == (
        "the node image needs Kubernetes, which can't be built here\n"
        f"  seen: there is no go in PATH, nor in {go.parent}/none\n"
        "  to fix: install Go 1.24 or later, as https://go.dev/doc/install says or from Debian "
        "trixie (golang-go), have it in PATH, then run this again"
    )


@pytest.mark.parametrize(
    "script",
    [
        "echo go version go1.19.8 linux/amd64",
        "echo go: go.mod requires go '>=' 1.24.0, running go1.22.1 >&2; exit 1",
    ],
)
def test_older_go_is_refused_with_what_it_says(go: Path, script: str) -> None:
    """One that may get a newer one of itself says that version, and one that may not says so."""
    program = _program(go / "go", script)
    said = subprocess.run([program], capture_output=True, text=True)
    with pytest.raises(_console.Problem) as raised:
        _node_binary.require_go()
    assert raised.value.evidence == (
        f"{program} says: {(said.stdout + said.stderr).strip()}\nGo 1.24 or later is needed"
    )


@pytest.mark.parametrize("version", ["1.24", "1.25rc1", "1.26.8", "2.0.1"])
def test_newer_go_is_taken(go: Path, version: str) -> None:
    """Also before its release, and with a first number that is none of today's."""
    program = _program(go / "go", f"echo go version go{version} linux/amd64")
    assert _node_binary.require_go() == program


def test_binary_is_built_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, go: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then it is there, until its sources or the architecture are others; progress is told."""
    builds: list[str] = []
    source = tmp_path / "source"
    source.mkdir()
    (source / "go.mod").write_text("module one\n\ngo 1.24.0\n")
    _program(source / "build", 'echo k8s.io/one && echo "$GOOS $GOARCH" >"$1"')
    _program(
        go / "go", 'case $* in version) echo "go version go1.24.1" ;; *) echo k8s.io/one ;; esac'
    )
    monkeypatch.setattr(_node_binary, "SOURCE", source)
    real = _node_binary.build

    def build(*given: Any) -> None:
        builds.append(given[-1])
        real(*given)

    monkeypatch.setattr(_node_binary, "build", build)
    for architecture in ("amd64", "amd64", "arm64"):
        binary = _node_binary.ensure(tmp_path / "kept", architecture)
        assert binary.read_text() == f"linux {architecture}\n"
    (source / "main.go").write_text("package main\n")
    _node_binary.ensure(tmp_path / "kept", "arm64")
    assert builds == ["amd64", "arm64", "arm64"]
    assert f"{binary}: there\n" in capsys.readouterr().out


def test_failed_build_is_told_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, go: Path
) -> None:
    """The next run tries again."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "go.mod").write_text("go 1.24.0\n")
    _program(source / "build", 'echo half >"$1"; echo "main.go:1: no such thing"; exit 1')
    _program(go / "go", "echo go version go1.24.1")
    monkeypatch.setattr(_node_binary, "SOURCE", source)
    for _ in range(2):
        with pytest.raises(_console.Problem, match="can't be built here") as raised:
            _node_binary.ensure(tmp_path / "kept", "amd64")
        assert "main.go:1: no such thing" in raised.value.evidence


def test_last_stage_is_the_dockerfiles_own() -> None:
    """What takes a registry is replaced, by the same names; nothing else is."""
    text = (_node_image.SOURCE / "Dockerfile").read_text()
    made = _node_image.dockerfile(text)
    names = [line for line in made.splitlines() if line.startswith(("FROM", "COPY"))]
    assert names == [
        "FROM pytest-dind/kubernetes-packages:test AS packages",
        "FROM scratch AS binary",
        "COPY kubernetes /",
        "FROM packages",
        "COPY --from=binary /kubernetes /usr/local/bin/",
        "COPY root /",
    ]
    assert made.partition("FROM packages\n")[2] == text.partition("FROM packages\n")[2]
    assert "LABEL pytest-dind.kubernetes-node=1\n" in made


@pytest.mark.parametrize(
    ("reachable", "builds", "expected"),
    [(True, True, ["build"]), (True, False, ["build", "bootstrap"]), (False, True, ["bootstrap"])],
)
def test_packages_come_from_the_registry_or_from_debian(
    monkeypatch: pytest.MonkeyPatch, reachable: bool, builds: bool, expected: list[str]
) -> None:
    """A build upon Debian's image takes no root; where it fails, Debian's packages do."""
    done: list[str] = []

    def build(*_given: object) -> bool:
        done.append("build")
        return builds

    monkeypatch.setattr(_node_image, "is_made_of", lambda *_given: False)
    monkeypatch.setattr(_images, "registry_answers", lambda _client: reachable)
    monkeypatch.setattr(_node_image, "build_packages", build)
    monkeypatch.setattr(_node_image, "bootstrap", lambda *_given: done.append("bootstrap"))
    _node_image.ensure_packages(CLIENT)
    assert done == expected


def test_packages_are_those_of_the_dockerfile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One list is for both ways."""
    packed: list[Any] = []

    def pack(_scratch: Path, image: str, _suites: object, packages: Any, _unneeded: object) -> Path:
        packed.append((image, packages("sid")))
        return Path()

    monkeypatch.setattr(_roots, "require_debootstrap", lambda *_given: None)
    monkeypatch.setattr(_roots, "packed", pack)
    monkeypatch.setattr(_images, "import_archive", lambda *_given: None)
    _node_image.bootstrap(CLIENT, "key", tmp_path)
    assert packed == [("node", (_node_image.SOURCE / "packages").read_text().split())]
    assert (
        "xargs apt-get install --yes --no-install-recommends </tmp/packages"
        in (_node_image.SOURCE / "Dockerfile").read_text()
    )
