"""Programs for the tests: used where they are, else out of Debian's packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _console
import _debs
import _packages
import _programs
import _roots

# A docker CLI without plugins.
_DOCKER = """\
#!/bin/sh
case $1 in
    --version) exit 0 ;;
    *) exit 1 ;;
esac
"""

_PLUGIN = '#!/bin/sh\necho "$0 $*"\n'


def _script(path: Path, text: str = "#!/bin/sh\nexit 0\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of all programs that this machine has."""
    path = tmp_path / "machine"
    _script(path / "ssh")
    monkeypatch.setattr(_programs, "search_path", lambda: f"{path}:/usr/bin:/bin")
    return path


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was taken out of packages, which have all."""
    names: list[str] = []

    def fetch(wanted: Sequence[_programs.Program], scratch: Path, places: _programs.Places) -> None:
        for one in wanted:
            names.append(one.file)
            _script(places.of(one), _DOCKER if one.file == "docker" else _PLUGIN)
        _programs.write_wrapper(places)

    monkeypatch.setattr(_programs, "fetch", fetch)
    monkeypatch.setattr(_programs, "program", lambda name: f"/usr/bin/{name}")
    return names


def test_what_the_machine_lacks_is_fetched_once(
    machine: Path, fetched: list[str], tmp_path: Path
) -> None:
    """A docker CLI without plugins is given them in a directory of ours; the machine's stays."""
    _script(machine / "docker", _DOCKER)
    _script(machine / "docker-registry")
    for _ in range(2):
        _programs.ensure(tmp_path / "ours")
    wrapper = tmp_path / "ours" / "bin" / "docker"
    said = subprocess.run([wrapper, "compose", "up"], capture_output=True, text=True).stdout

    assert fetched == ["docker-compose", "docker-buildx"]
    # By itself, so that it has the docker config of whoever runs it.
    assert said == f"{tmp_path}/ours/config/cli-plugins/docker-compose up\n"
    assert f"exec {machine}/docker" in wrapper.read_text()


def test_without_a_docker_cli(machine: Path, fetched: list[str], tmp_path: Path) -> None:
    """One comes with its plugins where there is none, and is found in PATH under its name."""
    _script(machine / "docker-registry")
    places = _programs.Places(tmp_path)
    # One that doesn't run is none; /usr/bin may have another, which is not this test's.
    _script(machine / "docker", "#!/bin/sh\nexit 1\n")
    _programs.ensure(tmp_path)

    assert fetched == ["docker", "docker-compose", "docker-buildx"]
    assert f"exec {places.cli}" in (places.bin / "docker").read_text()


def test_the_wrapper_is_not_taken_for_the_machines_docker(
    machine: Path, fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the directory in PATH already, as tox has it, docker is still the machine's."""
    _script(machine / "docker", _DOCKER)
    _script(machine / "docker-registry")
    places = _programs.Places(tmp_path / "ours")
    _programs.ensure(places.directory)
    monkeypatch.setattr(_programs, "search_path", lambda: f"{places.bin}:{machine}:/usr/bin:/bin")
    (places.plugins / "docker-buildx").unlink()
    _programs.ensure(places.directory)

    assert fetched == ["docker-compose", "docker-buildx", "docker-buildx"]
    assert f"exec {machine}/docker" in (places.bin / "docker").read_text()


def test_ssh_is_installed(
    machine: Path, fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has libraries of its own is no more than its program: its package is installed."""
    _script(machine / "docker", "#!/bin/sh\n")
    _script(machine / "docker-registry")
    _script(machine / "ssh", "#!/bin/sh\nexit 1\n")
    installed: list[str] = []

    def install(*names: str) -> None:
        installed.extend(names)
        _script(machine / "ssh")

    monkeypatch.setattr(_packages, "require_installable", lambda: None)
    monkeypatch.setattr(_packages, "update", lambda: None)
    monkeypatch.setattr(_packages, "install", install)
    _programs.ensure(tmp_path / "ours")

    assert (fetched, installed) == ([], ["openssh-client"])


def test_elsewhere_than_on_debian(
    machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is missing is an error with its name, and what to install."""
    _script(machine / "docker", _DOCKER)
    monkeypatch.setattr(_programs, "program", lambda _name: None)
    with pytest.raises(_console.Problem, match="the tests need docker-compose") as caught:
        _programs.ensure(tmp_path)
    assert "install the docker CLI with the plugins compose" in caught.value.remedy


def test_the_next_suite_is_taken_when_the_first_is_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The suite sid may be broken any day; then it is stable, and that is said."""

    def unpacked(names: Sequence[str], options: Sequence[str], *_more: object) -> Path:
        if options == ["sid"]:
            raise _console.Problem("no sid", "404", "wait")
        root = tmp_path / names[-1]
        _script(root / "usr" / "bin" / names[-1])
        _script(root / "etc" / "init.d" / names[-1], "the service")
        return root

    monkeypatch.setattr(_debs, "sources", lambda _: [("sid", ["sid"]), ("stable", ["s"])])
    monkeypatch.setattr(_debs, "unpacked", unpacked)
    places = _programs.Places(tmp_path / "ours")
    _programs.fetch(_programs.PROGRAMS[1:4], tmp_path, places)

    assert "the next suite then:\nno sid" in capsys.readouterr().out
    assert (places.bin / "docker-registry").read_text().startswith("#!")
    assert (places.plugins / "docker-compose").exists()


def test_the_suites_are_those_of_the_daemons_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They come from this machine's Debian mirror, with lists of their own; else its own do."""
    monkeypatch.setattr(_debs, "KEYRING", str(_script(tmp_path / "keyring")))
    monkeypatch.setattr(_roots, "debian_mirror", lambda: ["http://mirror/debian"])
    found = dict(_debs.sources(tmp_path))
    assert list(found) == ["Debian sid", "Debian stable"]
    assert f"Dir::State::Lists={tmp_path}/apt-sid/lists" in found["Debian sid"]
    [listed] = (tmp_path / "apt-sid" / "sources.list").read_text().splitlines()
    assert listed.endswith("http://mirror/debian sid main")

    monkeypatch.setattr(_roots, "debian_mirror", list)
    assert list(_debs.sources(tmp_path)) == [("this machine's package sources", [])]
