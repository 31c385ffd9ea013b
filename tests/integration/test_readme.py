"""The README's Python examples, run as they stand but for the image's name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
EXAMPLES = dict(
    re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
)
"""The code of each example, by the file that its first line names."""


def test_examples_pass(pytester: pytest.Pytester) -> None:
    """Put into the files that they name, all examples pass in one run."""
    assert len(EXAMPLES) == README.count("```python"), "an example's first line names its file"
    for name, code in EXAMPLES.items():
        code = code.replace("busybox", NESTED_IMAGE).replace("docker:dind", DAEMON_IMAGE)
        (pytester.path / name).write_text(code)
    options = [] if shutil.which("docker") else ["--deselect=test_cli.py::test_cli_of_this_machine"]

    result = pytester.runpytest_subprocess(
        f"--dind-image={DAEMON_IMAGE}", f"--dind-load={NESTED_IMAGE}", *options
    )

    tests = sum(code.count("def test_") for code in EXAMPLES.values())
    result.assert_outcomes(passed=tests - len(options), deselected=len(options))
    result.stdout.fnmatch_lines(["dind: daemon 'main' ready in * s (mode *, Docker *)"])
