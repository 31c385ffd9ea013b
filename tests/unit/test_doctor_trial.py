"""The image of the doctor's nested container, packed from a daemon's image without a registry."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path
from unittest.mock import Mock

import pytest

from pytest_dind import ModeUnavailable
from pytest_dind.doctor import trial
from pytest_dind.doctor.trial import PACK


@pytest.mark.parametrize(
    ("said", "code", "linked"),
    [
        # glibc: the first has no file, the last is the loader.
        (
            "\tlinux-vdso.so.1 (0x00007face3114000)\n"
            "\tlibc.so.6 => {lib}/libc.so.6 (0x00007face2ef1000)\n"
            "\t{lib}/ld-linux-x86-64.so.2 (0x00007face3116000)",
            0,
            {"libc.so.6", "ld-linux-x86-64.so.2"},
        ),
        # musl, as in Alpine: its loader is its libc.
        (
            "\t{lib}/ld-musl-x86_64.so.1 (0x7f3aa5e6b000)\n"
            "\tlibc.musl-x86_64.so.1 => {lib}/ld-musl-x86_64.so.1 (0x7f3aa5e6b000)",
            0,
            {"ld-musl-x86_64.so.1"},
        ),
        # A static program: glibc says so, on stderr, and musl likewise.
        ("", 1, set()),
    ],
    ids=["glibc", "musl", "static"],
)
def test_pack(tmp_path: Path, said: str, code: int, linked: set[str]) -> None:
    """The tar has the shell and what it is linked with, as files, under their own paths."""
    lib = tmp_path / "lib"
    lib.mkdir()
    (lib / "real").write_text("a library")
    for name in ("libc.so.6", "ld-linux-x86-64.so.2", "ld-musl-x86_64.so.1"):
        (lib / name).symlink_to("real")
    programs = tmp_path / "bin"
    programs.mkdir()
    ldd = programs / "ldd"
    ldd.write_text(f"#!/bin/sh\ncat <<'END'\n{said.format(lib=lib)}\nEND\nexit {code}\n")
    (programs / "applets").write_text("a shell")
    (programs / "busybox").symlink_to("applets")
    for program in (ldd, programs / "applets"):
        program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", f"{PACK}pack"],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        check=True,
    )

    with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
        found = {Path("/", member.name): member for member in tar.getmembers()}
    assert found.keys() == {programs / "applets", *(lib / name for name in linked)}
    assert all(member.isfile() or member.islnk() for member in found.values())


def test_mode_without_exec() -> None:
    """A daemon in which no command can be run works all the same; no nested container is tried."""
    refusal = ModeUnavailable("exec can't be had.", evidence="why", remedy=["how"])
    daemon = Mock(exec=Mock(side_effect=refusal), record=Mock(address=""))
    found = trial._nested(trial.Verdict("socket", True), daemon)

    assert found.works
    assert found.daemon is not None
    assert found.daemon.nested_seconds is None
