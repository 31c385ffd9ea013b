"""The table of engines: what the documentation has, and what makes it, without an engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import _further
import conformance
from _console import Problem

OUTCOME = {"says": "Images are built", "outcome": "failed", "cause": "no | builder"}
ANSWER = json.dumps([{"engine": "Docker 1", "mode": "dind", "outcomes": [OUTCOME]}])


def test_page_has_the_table_of_the_data() -> None:
    """The table in the documentation is the one that the data beside it gives."""
    page = conformance.PAGE.read_text()
    assert conformance.with_table(page, conformance.read()) == page


def test_data_is_of_the_rows_that_can_be_made() -> None:
    """Each engine of the data is one that the command makes, in its order."""
    found = conformance.read()
    assert found
    assert list(found) == [name for name in _further.ROWS if name in found]


def test_table_is_put_between_its_markers() -> None:
    """What stands before and after the table stays; what was in it goes."""
    page = f"before\n{conformance.BEGIN}\nold\n{conformance.END}\nafter\n"
    row = {"engine": "Docker 1, over ssh", "mode": "dind", "outcomes": [OUTCOME]}
    made = conformance.with_table(page, {"ssh": [row]})
    assert made.startswith(f"before\n{conformance.BEGIN}\n\n| engine |")
    assert made.endswith(f" |\n\n{conformance.END}\nafter\n")
    assert "| Docker 1, over ssh | dind | 0 of 1 | Images are built: no \\| builder |\n" in made
    assert "old" not in made


def test_a_row_tells_the_way_to_its_engine() -> None:
    """The suite runs where the tests are, and the way there is named in the row."""
    called: list[Sequence[str]] = []

    def call(words: Sequence[str]) -> str:
        called.append(words)
        return ANSWER

    (row,) = conformance.examined("ssh", _further.Reached("ssh://a@b", call, "over ssh"))
    assert row["engine"] == "Docker 1, over ssh"
    assert row["outcomes"] == [OUTCOME]
    assert "--host=ssh://a@b" in called[0]
    (row,) = conformance.examined("machine", _further.Reached("", call))
    assert row["engine"] == "Docker 1"


def test_suite_that_did_not_run_is_told() -> None:
    """What is no answer of the suite's ends the command with what was said instead."""
    with pytest.raises(Problem, match=r"(?s)did not run on ssh.*no engine here"):
        conformance.examined("ssh", _further.Reached("", lambda _words: "no engine here"))


def test_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A row that there is not is a usage error, which names those that there are."""
    with pytest.raises(SystemExit):
        conformance.main(["run", "podman-5"])
    assert "there is no row podman-5; there are machine, " in capsys.readouterr().err
