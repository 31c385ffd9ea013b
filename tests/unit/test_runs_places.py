"""What the words of --dind-mount, and relative paths, stand for in a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dind import Settings, SettingsError
from pytest_dind.runs.places import Places


@pytest.fixture(autouse=True)
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has no other name, unless a test gives it one."""
    monkeypatch.delenv("PWD", raising=False)


def _resolved(places: Places, *texts: str, **settings: object) -> list[str]:
    given = Settings(**settings) if not texts else Settings(mount=texts, **settings)
    found = places.resolve(given, _no_line)
    assert places.resolve(found, _no_line) == found, "what is resolved stays as it is"
    return list(found.mount)


def _no_line(line: str) -> None:
    raise AssertionError(line)


def test_words(tmp_path: Path) -> None:
    """The words stand for the project's root and the base of tmp_path; others stay as they are."""
    places = Places.named(tmp_path, Path("/t/base"))

    assert _resolved(places) == [f"project={tmp_path}", "tmp=/t/base"]
    assert _resolved(places, "project:ro", f"{tmp_path}:/in") == [
        f"project={tmp_path}:ro",
        f"{tmp_path}:/in",
    ]
    assert _resolved(Places()) == []


def test_colon_in_the_root() -> None:
    """A directory whose name has a colon, or a blank, is meant as it is."""
    assert _resolved(Places(project=("/a:ro b",)), "project") == [r"project=/a\:ro b"]


@pytest.mark.parametrize(
    ("base", "lasts"),
    [
        ("/t/pytest-of-me/pytest-7", "/t/pytest-of-me"),
        ("/t/mine", "/t/mine"),
        ("/t/pytest-7", "/t/pytest-7"),
    ],
)
def test_tmp_of_a_reused_daemon(base: str, lasts: str) -> None:
    """A daemon for the next run too gets what has each run's base; one asked for stays."""
    assert _resolved(Places(tmp=(base,)), "tmp", reuse="x") == [f"tmp={lasts}"]
    assert _resolved(Places(tmp=(base,)), "tmp") == [f"tmp={base}"]


def test_names_by_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory goes by its own name, and by those that a shell or tempfile give it."""
    real = tmp_path / "real" / "sub"
    real.mkdir(parents=True)
    (tmp_path / "cwd").symlink_to("real")
    (tmp_path / "temp").symlink_to(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path / "cwd" / "sub"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    by_temp = str(tmp_path / "temp" / "real")

    assert Places.named(real.parent, None).project == (
        str(real.parent),
        str(tmp_path / "cwd"),
        by_temp,
    )
    assert Places.named(None, real).tmp == (
        str(real),
        str(tmp_path / "cwd" / "sub"),
        f"{by_temp}/sub",
    )


def test_name_that_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PWD of another place gives no further name."""
    (tmp_path / "p").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to("other")
    monkeypatch.setenv("PWD", str(tmp_path / "link"))

    assert Places.named(tmp_path / "p", None).project == (str(tmp_path / "p"),)


def test_for_other_processes(tmp_path: Path) -> None:
    """The run's other processes read what the one that began it wrote."""
    places = Places(("/p", "/q"), ("/t",))
    places.write(tmp_path)

    assert Places.read(tmp_path) == places


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is one of the project's root, wherever a process is; `~` is a home."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    places = Places(project=(str(tmp_path),))

    assert _resolved(places, "data", "./data/../data:/d", "copy:~/data") == [
        f"{tmp_path}/data",
        f"{tmp_path}/data:/d",
        f"copy:{tmp_path}/data",
    ]


def test_path_that_does_not_exist(tmp_path: Path) -> None:
    """A path that is not there is an error, which says what there is of it."""
    (tmp_path / "a").mkdir()
    with pytest.raises(SettingsError) as caught:
        _resolved(Places(project=(str(tmp_path),)), "a/b/c")

    assert caught.value.what == f"--dind-mount: {tmp_path}/a/b/c does not exist."
    assert "'a/b/c' was given" in caught.value.evidence
    assert caught.value.evidence.endswith(f"there is {tmp_path}/a.")
    assert len(caught.value.remedy) == 2


def test_place_that_is_the_daemons() -> None:
    """A word for a place that a daemon can't give up is left out, and told; a path is an error."""
    told: list[str] = []
    found = Places(("/",), ("/t",)).resolve(Settings(), told.append)

    assert found.mount == ("tmp=/t",)
    assert told == [
        "project of --dind-mount is not in the daemon: / is the daemon's own root directory"
    ]
    assert _resolved(Places(("/",)), "project:/outer") == ["project=/:/outer"]
    with pytest.raises(SettingsError, match="can't be in the daemon under the same path"):
        _resolved(Places(project=("/usr",)), "./bin")
