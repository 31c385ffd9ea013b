"""The scripts around a command in a container, run by this machine's shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_dind.engine import exec as exec_module

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes in /proc")

_GROUP = "read -r _ _ _ _ group _ </proc/$$/stat; echo $$ $group"


@pytest.mark.parametrize("leads", [True, False], ids=["runc", "crun"])
def test_command_with_a_time_out_leads_a_group(tmp_path: Path, leads: bool) -> None:
    """It is killed with its children, also by a runtime that starts it in another's group."""
    announced = ["sh", "-c", exec_module._ANNOUNCED, "sh", str(tmp_path / "pid")]
    done = subprocess.run(
        [*announced, "sh", "-c", _GROUP],
        start_new_session=leads,
        capture_output=True,
        text=True,
        check=True,
    )

    pid, group = done.stdout.split()
    assert pid == group == (tmp_path / "pid").read_text().strip()


def test_directory(tmp_path: Path) -> None:
    """A command runs in its directory, or says that there is none."""
    inside = ["sh", "-c", exec_module._INSIDE, "sh"]
    there = subprocess.run([*inside, str(tmp_path), "pwd", "-P"], capture_output=True, text=True)
    gone = subprocess.run([*inside, "/no/such", "pwd"], capture_output=True, text=True)

    assert (there.returncode, there.stdout) == (0, f"{tmp_path.resolve()}\n")
    assert (gone.returncode, gone.stdout) == (126, "")
    assert "chdir to cwd /no/such" in gone.stderr
