"""The names of files: the same in the shell scripts as in `layout`, and a home's own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_dind
from pytest_dind.lifetime import layout
from pytest_dind.lifetime.layout import Home

_PACKAGE = Path(pytest_dind.__file__).parent
_SCRIPTS = ["backends/supervise.sh", "store/store.sh", "store/cache.sh"]
# Files of the home that the first process of a container reads or writes.
_SHARED = {
    layout.LEASE,
    layout.KEPT,
    layout.LOG,
    layout.EXIT,
    layout.SIGHT,
    layout.RESTARTED,
    layout.STORE_OUTCOME,
    layout.ABANDON,
    layout.IMAGES,
    layout.REFERENCES,
    layout.GIVEN,
    f"{layout.CERTIFICATES}/{layout.CERTIFIED}",
}


def _code(script: str) -> str:
    """A script without its comments."""
    text = (_PACKAGE / script).read_text()
    return "\n".join(line for line in text.splitlines() if not line.strip().startswith("#"))


def test_files_of_the_home() -> None:
    """The scripts know each file of the home by the name that the test process knows it by."""
    found = {
        name.removesuffix(".new")
        for script in _SCRIPTS
        for name in re.findall(r"\$home/([\w/.-]+)", _code(script))
    }
    assert found == _SHARED


@pytest.mark.parametrize(
    ("script", "variable", "path"),
    [
        ("backends/supervise.sh", "home", layout.IN_CONTAINER),
        ("store/store.sh", "store", layout.STORE_IN_CONTAINER),
        ("store/store.sh", "data", layout.DATA_ROOT),
        ("store/freeze.sh", "data", layout.DATA_ROOT),
    ],
)
def test_paths_in_the_container(script: str, variable: str, path: str) -> None:
    """The scripts know each directory of the container by the path that is mounted there."""
    assert re.findall(rf"^{variable}=(\S+)$", _code(script), re.MULTILINE) == [path]


def test_home() -> None:
    """A home tells the run and the daemon by its path; two of one path are the same."""
    home = Home(Path("/x/0123abcd/main"))

    assert (home.run, home.name) == ("0123abcd", "main")
    assert home.label == "pytest-dind-0123abcd-main"
    assert home == Home(Path("/x/0123abcd/main"))
    assert len({home, Home(Path("/x/0123abcd/main")), Home(Path("/x/0123abcd/other"))}) == 2
    assert home != "/x/0123abcd/main"


def test_imports_of_the_reaper() -> None:
    """The reaper imports the standard library alone, and none of its large modules."""
    source = (
        "import sys; sys.path.append(sys.argv[1]); from pytest_dind.lifetime import reaper; "
        "print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", source, str(_PACKAGE.parent)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    ours = {name for name in loaded if name.startswith("pytest_dind")}
    assert ours == {
        "pytest_dind",
        "pytest_dind.lifetime",
        *(f"pytest_dind.lifetime.{name}" for name in ("layout", "light", "reaper", "unix_http")),
    }
    assert not {"dataclasses", "inspect", "typing"} & set(loaded)
