"""What a daemon's container gets of the suite's files: binds, in-memory file systems, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_dind import Settings, SettingsError
from pytest_dind.backends import engine_errors, mounts
from pytest_dind.engine.own_container import Share, SharedFiles
from pytest_dind.lifetime.layout import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A daemon's home, in a directory of all runs below the temp dir of the test."""
    home = Home(tmp_path / "runs" / "0123abcd" / "main")
    home.path.mkdir(parents=True)
    return home


def _of(home: Home, *texts: str) -> mounts.SuiteFiles:
    return mounts.of(Settings(mount=texts), home)


def _binds(files: mounts.SuiteFiles) -> list[tuple[str, str, bool]]:
    found: list[dict[str, Any]] = files.mounts()
    return [(mount["Source"], mount["Target"], bool(mount["ReadOnly"])) for mount in found]


def test_same_path(home: Home, tmp_path: Path) -> None:
    """A path is mounted under itself, with whatever is in its name."""
    odd = tmp_path / "a b,c:d"
    odd.mkdir()
    files = _of(home, str(odd).replace(":", r"\:") + ":ro")

    assert _binds(files) == [(str(odd), str(odd), True)]
    assert files.mounts()[0]["Type"] == "bind"


def test_symbolic_links(home: Home, tmp_path: Path) -> None:
    """What is reached by symbolic links is there by them and by its real name."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    real, link = str(tmp_path / "real"), str(tmp_path / "link")

    assert _binds(_of(home, link)) == [(real, link, False), (real, real, False)]
    assert _binds(_of(home, f"{link}:/in")) == [(real, "/in", False)]


def test_words_without_a_run(home: Home) -> None:
    """Words that no run has resolved, as the defaults of settings are, stand for nothing."""
    assert mounts.of(Settings(), home) == mounts.SuiteFiles()


def test_mounts_in_another(home: Home, tmp_path: Path) -> None:
    """What another mount has already is not mounted again, unless it differs."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    a, b = str(tmp_path / "a"), str(tmp_path / "a" / "b")

    assert _binds(_of(home, a, b)) == [(a, a, False)]
    assert _binds(_of(home, a, a)) == [(a, a, False)]
    assert _binds(_of(home, a, f"{b}:ro")) == [(a, a, False), (b, b, True)]
    assert _binds(_of(home, a, f"{b}:/b")) == [(a, a, False), (b, "/b", False)]


def test_two_in_one_place(home: Home, tmp_path: Path) -> None:
    """Two mounts on one path, or of one path in two ways, are an error that names both."""
    for texts in ([f"{home.path}/..:/in", f"{tmp_path}:/in"], [str(tmp_path), f"{tmp_path}:ro"]):
        with pytest.raises(SettingsError, match="two mounts have the same place") as caught:
            _of(home, *texts)

        assert caught.value.evidence.count(str(tmp_path)) == 2


@pytest.mark.parametrize("target", ["", ":/in"])
def test_sockets_of_runs_are_hidden(home: Home, tmp_path: Path, target: str) -> None:
    """An empty, read-only directory lies over the one of all runs, wherever that comes to.

    It is mounted as the one around it is, by a bind: those come last under Sysbox.
    """
    files = _of(home, f"{tmp_path}{target}")
    place = Path("/in" if target else tmp_path)
    around, over = _binds(files)[0], _binds(files)[1]

    assert around == (str(tmp_path), str(place), False)
    assert over == (str(home.path / "empty"), str(place / "runs"), True)
    assert list(Path(over[0]).iterdir()) == []
    assert str(place / "runs") not in files.tmpfs()


def test_nothing_is_to_be_hidden(home: Home, tmp_path: Path) -> None:
    """Where no directory of sockets would be seen, there is no empty one either."""
    (tmp_path / "x").mkdir()

    assert _of(home, f"{tmp_path}/x").empty == ""
    assert list(home.path.iterdir()) == []


def test_directories_of_other_users_are_hidden(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directories of other users' runs in the temp dir are hidden too, and nothing else is."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("pytest-dind-12345", "pytest-dind-x", "other"):
        (tmp_path / name).mkdir()

    hidden = {target for _, target, _ in _binds(_of(home, f"{tmp_path}:/in"))} - {"/in"}
    assert "/in/pytest-dind-12345" in hidden
    assert hidden <= {"/in/pytest-dind-12345", "/in/runs", f"/in/pytest-dind-{_uid()}"}


def _uid() -> int:
    return Path("/proc/self").stat().st_uid


def test_sockets_of_runs_are_not_mounted(home: Home) -> None:
    """A mount of the directory of all runs, or of something in it, is an error."""
    for path in (home.path, home.path.parent.parent):
        with pytest.raises(SettingsError, match="can't be in a daemon") as caught:
            _of(home, f"{path}:/in")

        assert "The sockets of all runs" in caught.value.evidence


@pytest.mark.parametrize(("target", "has"), [("/tmp/x", True), ("/tmp", False), ("/srv", False)])
def test_tmp_of_the_image(home: Home, tmp_path: Path, target: str, has: bool) -> None:
    """What is mounted below /tmp stays seen: there is a file system on /tmp before the image's."""
    (tmp_path / "x").mkdir()
    found = _of(home, f"{tmp_path}/x:{target}").tmpfs()

    assert ("/tmp" in found) == has
    assert not has or found["/tmp"] == "exec,suid,dev,mode=1777"


def test_engine_elsewhere(home: Home, tmp_path: Path) -> None:
    """Words stand for nothing on an engine that shares no directory, which is told; paths do."""
    for name in ("p", "t", "link"):
        (tmp_path / name).mkdir()
    words = (f"project={tmp_path}/p", f"project={tmp_path}/link", f"tmp={tmp_path}/t")
    files, line = _of(home, *words, f"copy:{tmp_path}/p").elsewhere("it is far")

    assert files.mounts() == []
    assert [str(mount) for mount in files.copies] == [f"copy:{tmp_path}/p"]
    assert line == (
        f"project ({tmp_path}/p) is not in the daemon, since it is far; "
        f"tmp ({tmp_path}/t) is not in the daemon, since it is far"
    )
    with pytest.raises(SettingsError) as caught:
        _of(home, f"{tmp_path}/p").elsewhere("it is far")
    assert f"the daemon can't have {tmp_path}/p" in caught.value.what
    assert "it is far" in caught.value.evidence
    assert "copy:PATH" in caught.value.remedy[0]


def test_copies(home: Home, tmp_path: Path) -> None:
    """What is mounted in its place is not copied; nothing is copied into what is mounted."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    a = str(tmp_path / "a")
    copy, inside = f"copy:{a}/b", f"copy:{a}/b:{a}/c"

    assert [str(mount) for mount in _of(home, copy, inside).to_copy()] == [copy, inside]
    assert _of(home, a, copy).to_copy() == []
    with pytest.raises(SettingsError, match="written to this machine's own files") as caught:
        _of(home, a, inside).to_copy()
    assert f"{a}/c is in {a}, where {a} is mounted" in caught.value.evidence
    without, _ = _of(home, f"project={a}", inside).elsewhere("it is far")
    assert [str(mount) for mount in without.to_copy()] == [inside]


def test_path_that_the_engine_does_not_see(home: Home, tmp_path: Path) -> None:
    """An engine's refusal of a path is known by the path that it names."""
    refusal = 'invalid mount config for type "bind": bind source path does not exist: '
    files = _of(home, f"project={tmp_path}")

    assert files.unseen(refusal + str(tmp_path)) == str(tmp_path)
    assert files.unseen(refusal + str(home.path)) == ""
    assert files.unseen("port is already allocated") == ""


def test_file_on_a_directory(home: Home) -> None:
    """A runtime's refusal to mount a file on a directory is an error of the settings."""
    text = (
        "OCI runtime create failed: error mounting /f to rootfs at /srv: not a directory: unknown: "
        "Are you trying to mount a directory onto a file (or vice-versa)?"
    )
    error = engine_errors.refused(home, Settings(), text)

    assert isinstance(error, SettingsError)
    assert "TARGET" in error.remedy[0]


def test_in_a_container(home: Home, tmp_path: Path) -> None:
    """Beside tests in a container, what that one has mounted is there, under the tests' paths."""
    for name in ("mounted/in", "fixed", "own"):
        (tmp_path / name).mkdir(parents=True)
    files = _of(home, f"{tmp_path}/mounted/in", f"{tmp_path}/fixed", f"{tmp_path}/own")
    shared = SharedFiles(
        [Share(f"{tmp_path}/mounted", "/host"), Share(f"{tmp_path}/fixed", "/f", read_only=True)]
    )

    assert files.of_engine(None) is files
    found = _binds(files.of_engine(shared))
    assert found == [("/host/in", f"{tmp_path}/mounted/in", False)]
    found = _binds(_of(home, f"{tmp_path}/fixed:ro").of_engine(shared))
    assert found == [("/f", f"{tmp_path}/fixed", True)]


def test_hidden_in_a_container(home: Home, tmp_path: Path) -> None:
    """What hides the sockets there is under the engine's path, too; or nowhere, as they are."""
    files = _of(home, str(tmp_path))
    shared = SharedFiles([Share(str(tmp_path), "/host")])
    empty = f"/host/{home.path.relative_to(tmp_path)}/empty"

    assert (empty, str(tmp_path / "runs"), True) in _binds(files.of_engine(shared))
    assert files.of_engine(SharedFiles([])).empty == ""


def test_hidden_without_the_home(home: Home, tmp_path: Path) -> None:
    """An engine that lacks the home is not asked for the empty directory in it."""
    files = _of(home, f"{tmp_path}:/in")

    assert len(_binds(files)) > 1
    assert _binds(files.without_home()) == [(str(tmp_path), "/in", False)]


def test_replaced(home: Home, tmp_path: Path) -> None:
    """A directory that was made anew since the start is told of, as is one that is gone."""
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for path in paths:
        path.mkdir()
    assert mounts.replaced(home) == []
    _of(home, *(f"{path}:/{path.name}" for path in paths)).note(home)
    assert mounts.replaced(home) == []
    # Made before the other goes, so that it is certain to be another one.
    (tmp_path / "new").mkdir()
    paths[0].rmdir()
    (tmp_path / "new").rename(paths[0])
    paths[1].rmdir()

    assert mounts.replaced(home) == [str(paths[0]), str(paths[1])]
