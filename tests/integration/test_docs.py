"""The files that README and docs/ show, run as they stand but for the images' names."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE

from ..documentation import Block, blocks

FILES: dict[str, list[Block]] = defaultdict(list)
"""The files that each page shows, by the page's name."""
for block in blocks():
    if block.name:
        FILES[block.page.stem].append(block)
ALONE = sorted(page for page, files in FILES.items() if any(f.name == "conftest.py" for f in files))
"""Pages whose files have a say in the whole run."""
TOGETHER = sorted(FILES.keys() - ALONE)
_ASKING = "def test_of_the_page(dind_daemon):\n    assert dind_daemon.version\n"
_OF_DOCKER = {"test_cli.py": "test_cli_of_this_machine", "test_shop.py": "test_page"}
"""The tests that take a docker CLI of this machine, by their files."""


def test_each_test_has_a_file() -> None:
    """What is a whole test, with no more than fixtures of ours in it, is run: its file is named."""
    assert len(TOGETHER) >= 10
    assert {"fixtures", "hooks", "testcontainers"} <= set(ALONE)


def test_pages_pass(pytester: pytest.Pytester) -> None:
    """In the files that they name, and a directory for each page, all tests pass in one run."""
    for page in TOGETHER:
        _write(pytester.path / page, FILES[page])

    _run(pytester, [block for page in TOGETHER for block in FILES[page]])


@pytest.mark.parametrize("page", ALONE)
def test_page_passes(pytester: pytest.Pytester, page: str) -> None:
    """What a page shows of a `conftest.py` works in a run of its own, for a test if it has none."""
    if page == "testcontainers":
        pytest.importorskip("testcontainers")
    files = FILES[page]
    _write(pytester.path, files)
    if _tests(files) == 0:
        (pytester.path / "test_of_the_page.py").write_text(_ASKING)

    _run(pytester, files)


def _write(directory: Path, files: list[Block]) -> None:
    for block in files:
        path = directory / block.name
        path.parent.mkdir(parents=True, exist_ok=True)
        code = block.code.replace("busybox", NESTED_IMAGE).replace("docker:dind", DAEMON_IMAGE)
        path.write_text(code)


def _tests(files: list[Block]) -> int:
    return sum(f.code.count("def test_") for f in files if f.name.startswith("test_"))


def _run(pytester: pytest.Pytester, files: list[Block]) -> None:
    options = [f"--dind-image={DAEMON_IMAGE}", f"--dind-load={NESTED_IMAGE}"]
    # Several pages have a file of the same name.
    options.append("--import-mode=importlib")
    names = {block.name for block in files}
    left_out = [] if shutil.which("docker") else [_OF_DOCKER[n] for n in names & _OF_DOCKER.keys()]
    if left_out:
        options.append(f"-k=not ({' or '.join(left_out)})")

    found = pytester.runpytest_subprocess(*options)

    found.assert_outcomes(passed=(_tests(files) or 1) - len(left_out), deselected=len(left_out))
    found.stdout.fnmatch_lines(["dind: daemon 'main' ready in * s (mode *, Docker *)"])
