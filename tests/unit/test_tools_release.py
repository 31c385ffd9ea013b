"""What is released: two builds are the same, nothing is missing, and the changelog has it."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _console
import release


def _wheel(directory: Path, *, text: str = "x = 1\n", year: int = 2020) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(directory / "it-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(zipfile.ZipInfo("it/__init__.py", (year, 1, 1, 0, 0, 0)), text)
    return directory


def test_builds_with_the_same_bytes_are_the_same(tmp_path: Path) -> None:
    """Where they were made does not matter."""
    release.require_same(_wheel(tmp_path / "one"), _wheel(tmp_path / "two"))


def test_builds_that_differ_name_the_file(tmp_path: Path) -> None:
    """The error has what differs, inside of the archive."""
    first, second = _wheel(tmp_path / "one"), _wheel(tmp_path / "two", text="x = 2\n")
    with pytest.raises(_console.Problem) as raised:
        release.require_same(first, second)
    assert raised.value.evidence == "it-1.0-py3-none-any.whl differs in it/__init__.py"


def test_builds_that_differ_in_a_time_are_not_the_same(tmp_path: Path) -> None:
    """The same files in other bytes are another archive."""
    first, second = _wheel(tmp_path / "one"), _wheel(tmp_path / "two", year=2021)
    with pytest.raises(_console.Problem, match="two builds are not the same") as raised:
        release.require_same(first, second)
    assert raised.value.evidence.endswith("differs in how its files are packed")


def test_builds_of_different_archives_are_not_the_same(tmp_path: Path) -> None:
    """An archive that the other build has not is named."""
    (_wheel(tmp_path / "one") / "it-1.0.tar.gz").touch()
    with pytest.raises(_console.Problem) as raised:
        release.require_same(tmp_path / "one", _wheel(tmp_path / "two"))
    assert raised.value.evidence == "it-1.0.tar.gz is of one build alone"


@pytest.mark.parametrize(
    ("sdist", "wheel", "missing"),
    [
        ({"pytest_dind/a.py", "tests/b.py"}, {"pytest_dind/a.py"}, None),
        ({"pytest_dind/a.py"}, {"pytest_dind/a.py"}, "sdist is not whole\n  seen: tests/b.py"),
        ({"pytest_dind/a.py", "tests/b.py"}, set[str](), "wheel is not whole\n  seen: pytest_dind"),
    ],
)
def test_all_files_are_released(sdist: set[str], wheel: set[str], missing: str | None) -> None:
    """The sdist has the project, and the wheel the package."""
    files = ["pytest_dind/a.py", "tests/b.py"]
    given = dict.fromkeys(sdist, b""), dict.fromkeys(wheel, b""), files
    if missing is None:
        release.require_files(*given)
    else:
        with pytest.raises(_console.Problem) as raised:
            release.require_files(*given)
        assert missing in str(raised.value)


_ADDRESS = "Name: it\nProject-URL: Source, https://code.example/it\n"


@pytest.mark.parametrize(
    ("metadata", "evidence"),
    [
        ("Name: it\n\nProject-URL: https://x\n", "its metadata has no Project-URL"),
        (f"{_ADDRESS}\n[a](https://x) [b](docs/b.md)\n", "README links to docs/b.md"),
        (f"{_ADDRESS}\n[a](https://x) [b](#b) b(c)\n", None),
    ],
)
def test_a_release_leads_to_the_project(metadata: str, evidence: str | None) -> None:
    """Who finds the package on the index gets from there to its repository and its docs."""
    if evidence is None:
        release.require_address(metadata)
    else:
        with pytest.raises(_console.Problem) as raised:
            release.require_address(metadata)
        assert raised.value.evidence == evidence


_CHANGELOG = """\
# Changelog

## 1.1.0 (2026-02-01)

### Added

- More.

## 1.0.0 (2026-01-01)

- The first.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose changelog has two releases, and no fragment."""
    (tmp_path / "CHANGELOG.md").write_text(_CHANGELOG)
    (tmp_path / "changelog.d").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("version", "notes"), [("1.1.0", "### Added\n\n- More.\n"), ("1.0.0", "- The first.\n")]
)
def test_notes_are_the_changelogs_section(project: Path, version: str, notes: str) -> None:
    """A release's notes are what the changelog says of that version, and nothing else."""
    assert release.changes(version, f"v{version}", project) == notes


@pytest.mark.parametrize(
    ("version", "tag", "evidence"),
    [
        ("1.1.0", "v1.0.0", "the tag is v1.0.0, and pyproject.toml has 1.1.0"),
        ("1.1.0", "1.1.0", "the tag is 1.1.0, and pyproject.toml has 1.1.0"),
        ("1.2.0", "v1.2.0", "CHANGELOG.md has no 1.2.0"),
        ("1.1", "v1.1", "CHANGELOG.md has no 1.1"),
    ],
)
def test_a_tag_is_of_a_version_that_is_ready(
    project: Path, version: str, tag: str, evidence: str
) -> None:
    """A tag of another version, or without a section in the changelog, is no release."""
    with pytest.raises(_console.Problem) as raised:
        release.changes(version, tag, project)
    assert raised.value.evidence == evidence


def test_a_release_has_no_fragments_left(project: Path) -> None:
    """A change that is not yet in the changelog would be missing from the notes."""
    (project / "changelog.d" / "+more.added.md").touch()
    with pytest.raises(_console.Problem) as raised:
        release.changes("1.1.0", "v1.1.0", project)
    assert raised.value.evidence == "+more.added.md is still a fragment"
