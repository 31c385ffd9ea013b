"""Debian's packages, taken apart without installing them: also those of a newer suite."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import _packages
import _roots
from _console import Problem, Step, run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def sources(scratch: Path) -> Iterator[tuple[str, list[str]]]:
    """Give names of package sources, newest first, and apt's options for each.

    On Debian these are the suites that the daemon's image is made of, on others their own. The
    machine's configuration of apt counts, its lists do not.
    """
    mirror = _roots.debian_mirror()
    if not mirror or not Path(KEYRING).exists():
        yield "this machine's package sources", []
        return
    for suite in _roots.SUITES:
        state = scratch / f"apt-{suite}"
        (state / "lists" / "partial").mkdir(parents=True)
        (state / "cache" / "archives" / "partial").mkdir(parents=True)
        (state / "status").touch()
        (state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror[0]} {suite} main\n")
        settings = {
            "Dir::Etc::SourceList": state / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State": state,
            "Dir::State::Lists": state / "lists",
            "Dir::State::Status": state / "status",
            "Dir::Cache": state / "cache",
            "Acquire::Languages": "none",
            # Its own user can't get into a directory of ours.
            "APT::Sandbox::User": "root",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        yield f"Debian {suite}", options


def with_dependencies(
    name: str, options: Sequence[str], shown: Step, what: str, remedy: str
) -> list[Path]:
    """Give the files of a package and of all that it needs, as if nothing were installed.

    The options are those of one of Debian's suites. There are none where that lacks the package.

    Raises:
        Problem: they can't be had; `what` fails with it, and `remedy` may help.
    """
    update(options, shown, what, remedy)
    if not _packages.exists(name, *options):
        return []
    install = ["install", "--yes", "--download-only", "--no-install-recommends", name]
    run(["apt-get", *options, *install], shown, what=what, remedy=remedy)
    return sorted((_of(options, "Dir::Cache") / "archives").glob("*.deb"))


def update(options: Sequence[str], shown: Step, what: str, remedy: str) -> None:
    """Get the lists of a suite's packages, unless they are there; the machine's own stay."""
    if options and not any(_of(options, "Dir::State::Lists").glob("*Packages*")):
        run(["apt-get", *options, "update"], shown, what=what, remedy=remedy)


def _of(options: Sequence[str], name: str) -> Path:
    """The path that apt's options give for a setting."""
    settings = dict(word.split("=", 1) for word in options if "=" in word)
    return Path(settings[name])


def unpacked(
    names: Sequence[str],
    options: Sequence[str],
    scratch: Path,
    shown: Step,
    what: str,
    remedy: str,
) -> Path:
    """Give the files of the first of these packages that there is.

    Raises:
        Problem: there is none, or it can't be had; `what` fails with it, and `remedy` may help.
    """
    update(options, shown, what, remedy)
    name = next((name for name in names if _packages.exists(name, *options)), None)
    if name is None:
        raise Problem(what, f"there is no package {' or '.join(names)}", remedy)
    root = scratch / f"root-{name}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    # apt-get downloads into the current directory.
    get = ["sh", "-c", 'cd "$1" && shift && exec apt-get "$@"', "sh", str(root)]
    run([*get, *options, "download", name], shown, what=what, remedy=remedy)
    package = next(root.glob("*.deb"))
    run(["dpkg-deb", "--extract", str(package), str(root)], shown, what=what, remedy=remedy)
    return root
