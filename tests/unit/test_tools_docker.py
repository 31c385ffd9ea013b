"""Docker's daemons that Go builds: what Go is asked for, and what it needs."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _docker_binary
from _console import Problem

RELEASE = _docker_binary.Release("1.2.3", "example.org/docker", "v1.2.3")


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory that is all that there is in PATH, for a go of the test's own."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setattr(_docker_binary, "search_path", lambda: f"{path}:/bin:/usr/bin")
    monkeypatch.setattr(_docker_binary, "USUAL_PLACE", str(tmp_path / "none"))
    return path


@pytest.mark.parametrize("needs", ["", "vendor.mod"])
def test_release_is_built_with_what_it_needs(tmp_path: Path, programs: Path, needs: str) -> None:
    """Both programs are built, and the daemon tells its release; old modules list their needs."""
    module, made = tmp_path / "module", tmp_path / "made"
    module.mkdir()
    made.mkdir()
    if needs:
        (module / needs).write_text("module example.org/docker\n\ngo 1.2\n\nrequire a v1\n")
        (module / "vendor.sum").write_text("a v1 h1:=\n")
    go = programs / "go"
    answer = json.dumps({"Dir": str(module)})
    go.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\ncase $* in *download*) ;; *) exit ;; '
        f"esac\necho '{answer}'\n"
    )
    go.chmod(0o755)
    # Without a go.mod Go is told the language, too.
    dataclasses.replace(RELEASE, language="go1.21" if needs else "").build(made)

    wanted = "module docker\n\ngo 1.2\n\nrequire a v1\n" if needs else "module docker\n"
    assert (made / "go.mod").read_text() == wanted
    assert (made / "go.sum").exists() == bool(needs)
    _, got, built = (tmp_path / "asked").read_text().splitlines()
    packages = [f"example.org/docker/cmd/{name}" for name in ("dockerd", "docker-proxy")]
    assert got.endswith(" ".join(f"{package}@v1.2.3" for package in packages))
    assert built.endswith(" ".join(packages))
    assert "-X example.org/docker/dockerversion.Version=1.2.3" in built
    flag = " -gcflags=example.org/docker/...=-lang=go1.21 "
    assert (flag in built) == bool(needs)


def test_what_go_says_is_told(tmp_path: Path, programs: Path) -> None:
    """A module that can't be had is a problem with Go's own words."""
    go = programs / "go"
    go.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    go.chmod(0o755)
    with pytest.raises(Problem, match=r"(?s)Docker 1\.2\.3 can't be built.*no such module"):
        RELEASE.build(tmp_path)


def test_no_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Path) -> None:
    """Without Go it is said what to install."""
    monkeypatch.setattr(_docker_binary, "search_path", lambda: str(programs))
    with pytest.raises(Problem, match="install Go"):
        RELEASE.build(tmp_path)
