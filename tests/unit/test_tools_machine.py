"""The machine for a command: what it is told, and what is said of its end, without one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker.errors
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _console
import _images
import _machine
import engine


def _told(settings: str, name: str) -> list[str]:
    """What a shell reads from the settings."""
    script = f'{settings}\nprintf "%s\\n" "${{{name}[@]}}"'
    done = subprocess.run(["bash", "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def test_machine_is_told_the_command_word_by_word() -> None:
    """No word of the command's, whatever is in it, is the shell's to read."""
    command = ["pytest", "-k", "a or 'b'", "$HOME", "*"]
    images = [("1.tar", "machine:1", "daemon:test"), ("2.tar", "nested:test", "nested:test")]
    told = _machine.settings(command, "podman", images)
    assert _told(told, "command") == command
    assert _told(told, "images") == ["1.tar machine:1 daemon:test", "2.tar nested:test nested:test"]
    assert _told(told, "engine") == ["podman"]
    assert _told(told, "host") == ["unix:///run/podman/podman.sock"]
    assert _told(told, "checkout") == [str(_machine.ROOT)]


def test_machine_ends_with_the_tool(tmp_path: Path) -> None:
    """All of it is in namespaces whose first process is killed with the process that began it."""
    words = _machine.boot(tmp_path / "made", tmp_path / "share", 7, 8)
    assert words[:3] == ["setpriv", "--pdeathsig", "KILL"]
    assert {"--pid", "--kill-child"} <= set(words)
    assert {f"share=/host{tmp_path}/share", "ssl0=null,fd:7", "ssl1=null,fd:8"} <= set(words)
    assert f"ubd0=/dev/shm/written,/host{tmp_path}/made/disk" in words


def test_engine_of_the_machine_is_chosen() -> None:
    """Without a name it is Docker of root's; one that there is not is a usage error."""
    assert engine.parse(["run", "--machine", "--", "true"]).machine == "docker"
    for name in _machine.ENGINES:
        assert engine.parse(["run", f"--machine={name}", "--", "true"]).machine == name
    with pytest.raises(SystemExit, match="2"):
        engine.parse(["run", "--machine=lxc", "--", "true"])


def test_another_processor_has_no_machine() -> None:
    """The error says which there are."""
    with pytest.raises(_console.Problem, match="no machine of its own can be had") as caught:
        _machine.require_machine("aarch64")
    assert caught.value.evidence == "Debian has user-mode-linux for x86_64, and this is aarch64"
    assert caught.value.remedy == "run this on a machine of type x86_64"


def test_machine_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """A root directory is root's to make; the error says so before anything is made."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(_console.Problem, match="no machine of its own can be had") as caught:
        _machine.require_machine("x86_64")
    assert caught.value.remedy == "run this as root"


def test_machine_without_the_image_of_nodes_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where that is asked for, and is missing, the error says what makes it."""
    ids = {_images.DAEMON: "sha256:1", _images.NESTED: "sha256:2"}
    monkeypatch.setattr(_images, "image_id", lambda _client, name: ids.get(name))
    monkeypatch.setattr(
        _machine, "save_one", lambda _client, _image, _name, file: file.write_text("")
    )
    client: Any = None
    saved = _machine.save(client, tmp_path, nodes=False)
    assert [image for *_, image in saved] == [*ids]
    assert sorted(path.name for path in tmp_path.iterdir()) == [file for file, *_ in saved]
    with pytest.raises(_console.Problem, match="the machine can't have nodes") as caught:
        _machine.save(client, tmp_path, nodes=True)
    assert caught.value.remedy == "python tools/kubernetes.py"


def test_images_of_before_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An image that the engine has anew takes the place of its old file; what is the same stays."""
    ids = {_images.DAEMON: "sha256:1", _images.NESTED: "sha256:2"}
    made: list[str] = []
    monkeypatch.setattr(_images, "image_id", lambda _client, name: ids.get(name))

    def save_one(_client: object, image: str, _name: str, file: Path) -> None:
        made.append(image)
        file.write_text("")

    monkeypatch.setattr(_machine, "save_one", save_one)
    client: Any = None
    _machine.save(client, tmp_path, nodes=False)
    ids[_images.DAEMON] = "sha256:3"
    saved = _machine.save(client, tmp_path, nodes=False)
    assert made == [_images.DAEMON, _images.NESTED, _images.DAEMON]
    assert sorted(path.name for path in tmp_path.iterdir()) == [file for file, *_ in saved]


def test_status_is_the_commands(tmp_path: Path) -> None:
    """What the machine left is the status of the command."""
    (tmp_path / "status").write_text("7\n")
    assert _machine.status(tmp_path / "status", tmp_path / "log") == 7


def test_machine_that_ends_too_early_is_a_problem(tmp_path: Path) -> None:
    """Without a status, the evidence is what its console said last."""
    log = tmp_path / "log"
    log.write_text("Booting\nKernel panic\n")
    with pytest.raises(_console.Problem, match="ended before the command did") as caught:
        _machine.status(tmp_path / "status", log)
    assert caught.value.evidence == "Booting\nKernel panic"
    assert str(log) in caught.value.remedy

    with subprocess.Popen(["false"]) as process:
        process.wait()
        with pytest.raises(_console.Problem, match="ended before the command did"):
            _machine.wait_until_begun(process, tmp_path / "begun", log)


def test_machine_that_does_not_begin_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The wait has a bound, and the error says how long it was."""
    monkeypatch.setattr(_machine, "BEGIN_SECONDS", 0.0)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        with pytest.raises(_console.Problem, match="does not begin after 0 s"):
            _machine.wait_until_begun(process, tmp_path / "begun", tmp_path / "log")
        (tmp_path / "begun").touch()
        _machine.wait_until_begun(process, tmp_path / "begun", tmp_path / "log")


def test_what_comes_is_passed_on_until_its_end() -> None:
    """All bytes arrive, and the thread ends with the last writer."""
    reading, writing = os.pipe()
    target = io.BytesIO()
    thread = _machine.passing(reading, target)
    os.write(writing, b"one\n")
    os.write(writing, b"two\xff")
    os.close(writing)
    thread.join()
    assert target.getvalue() == b"one\ntwo\xff"


def test_image_that_does_not_fit(tmp_path: Path) -> None:
    """A build that fails names the image and what the engine says."""

    class Images:
        def build(self, **_arguments: object) -> None:
            raise docker.errors.BuildError("a step returned 1", iter(()))

    client = cast(Any, SimpleNamespace(images=Images()))
    with pytest.raises(_console.Problem, match="some:1 can't be made to fit") as caught:
        _machine.save_one(client, "some:1", "own:1", tmp_path / "own.tar")
    assert "a step returned 1" in str(caught.value)
