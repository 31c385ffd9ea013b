"""Programs that the tests run and this machine lacks, out of Debian's packages.

They are in a directory of their own, whose `bin` is for PATH; only ssh, which has libraries of its
own, is installed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import _debs
import _packages
import _roots
from _console import Problem, say, step
from _daemon import program, search_path

CLI = "docker"
VERSION_SECONDS = 60
WHAT = "what the tests run can't be had from Debian's packages"
REMEDY = (
    "check the network and the package sources; or install the docker CLI with the plugins compose "
    "(2 or later) and buildx, the registry as docker-registry, and ssh, then run this again"
)

_WRAPPER = """\
#!/bin/sh
# Written by pytest-dind's tools/engine.py: docker, with the plugins that this machine lacks.
case ${{1-}} in
    # Not by --config, which would take the user's own docker config out of sight.
    {plugins}) command=$1 && shift && exec {directory}/docker-"$command" "$@" ;;
esac
exec {docker} "$@"
"""


@dataclass(frozen=True)
class Program:
    """A program, and how it shows that it is there.

    Attributes:
        file: Its file's name.
        packages: Those that may have it; Ubuntu's names come first, where Debian's is another.
        version: The command that says its version.
        needs_libraries: Whether its package has to be installed.
    """

    file: str
    packages: Sequence[str]
    version: Sequence[str]
    needs_libraries: bool = False

    @property
    def plugin(self) -> str:
        """The docker CLI's command that it is; empty where it is none."""
        return self.version[1] if self.version[0] == CLI and len(self.version) > 2 else ""

    def works(self, places: Places) -> bool:
        """Tell whether it is to be had, from the machine or from here."""
        path = os.pathsep.join([str(places.bin), search_path()])
        found = shutil.which(self.version[0], path=path)
        if found is None:
            return False
        command = [found, *self.version[1:]]
        try:
            done = subprocess.run(command, capture_output=True, timeout=VERSION_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0


PROGRAMS = (
    Program(CLI, ("docker-cli", "docker.io"), (CLI, "--version")),
    Program("docker-compose", ("docker-compose-v2", "docker-compose"), (CLI, "compose", "version")),
    Program("docker-buildx", ("docker-buildx",), (CLI, "buildx", "version")),
    Program("docker-registry", ("docker-registry",), ("docker-registry", "--version")),
    Program("ssh", ("openssh-client",), ("ssh", "-V"), needs_libraries=True),
)


@dataclass(frozen=True)
class Places:
    """Where the programs are."""

    directory: Path

    @property
    def bin(self) -> Path:
        """What belongs into PATH."""
        return self.directory / "bin"

    @property
    def cli(self) -> Path:
        """A docker CLI, where the machine has none."""
        return self.directory / "docker-cli"

    @property
    def config(self) -> Path:
        """A configuration of the docker CLI that has the plugins."""
        return self.directory / "config"

    @property
    def plugins(self) -> Path:
        """The plugins."""
        return self.config / "cli-plugins"

    def of(self, wanted: Program) -> Path:
        """Where a program's file is to be."""
        if wanted.file == CLI:
            return self.cli
        return (self.plugins if wanted.plugin else self.bin) / wanted.file


def ensure(directory: Path) -> None:
    """Make sure of all programs.

    Raises:
        Problem: one is missing, and its package can't be had here.
    """
    places = Places(directory.resolve())
    wanted = []
    for one in PROGRAMS:
        if one.works(places):
            say(f"{one.file}: there")
        else:
            wanted.append(one)
    if wanted:
        provide(wanted, places)
    if places.bin.exists():
        say(f"to use them: PATH={places.bin}:$PATH")


def provide(wanted: Sequence[Program], places: Places) -> None:
    """Get programs that this machine lacks."""
    if program("apt-get") is None or program("dpkg-deb") is None:
        lacking = ", ".join(one.file for one in wanted)
        raise Problem(f"the tests need {lacking}", "this is no Debian or Ubuntu", REMEDY)
    portable = [one for one in wanted if not one.needs_libraries]
    if portable:
        with _roots.scratch_directory() as scratch:
            fetch(portable, scratch, places)
    if len(portable) < len(wanted):
        _packages.require_installable()
        _packages.update()
        _packages.install(*(one.packages[0] for one in wanted if one.needs_libraries))
    for one in wanted:
        if not one.works(places):
            raise Problem(
                f"{one.file} can't be used",
                f"`{' '.join(one.version)}` fails",
                REMEDY,
            )
        say(f"{one.file}: {'installed' if one.needs_libraries else f'in {places.of(one)}'}")


def fetch(wanted: Sequence[Program], scratch: Path, places: Places) -> None:
    """Take programs out of the packages of the first suite that has them all."""
    suites = list(_debs.sources(scratch))
    for suite, options in suites:
        if not options and os.geteuid() == 0:
            _packages.update()
        try:
            with step(f"getting {', '.join(one.file for one in wanted)} from {suite}") as shown:
                for one in wanted:
                    root = _debs.unpacked(one.packages, options, scratch, shown, WHAT, REMEDY)
                    place(program_in(root, one), places.of(one))
            break
        except Problem as problem:
            if suite == suites[-1][0]:
                raise
            say(f"{suite} can't be had now, the next suite then:\n{problem}")
    write_wrapper(places)


def program_in(root: Path, wanted: Program) -> Path:
    """Find a program in an unpacked package; a script that starts a service may have its name."""
    for path in root.rglob(wanted.file):
        if path.parent.name in ("bin", "cli-plugins"):
            return path
    raise Problem(WHAT, f"the package has no program {wanted.file}", REMEDY)


def place(source: Path, target: Path) -> None:
    """Put a program in its place; another run may use the old one at the moment."""
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f"{target.name}.new")
    shutil.copy2(source, new)
    new.replace(target)


def write_wrapper(places: Places) -> None:
    """Write the docker that finds the plugins, where there is something of it here."""
    names = [one.plugin for one in PROGRAMS if one.plugin and places.of(one).exists()]
    # Not this wrapper itself, which may be in PATH already.
    others = [part for part in search_path().split(os.pathsep) if part != str(places.bin)]
    docker = shutil.which(CLI, path=os.pathsep.join(others))
    if places.cli.exists():
        docker = str(places.cli)
    if docker is None or not (names or places.cli.exists()):
        return
    wrapper = places.bin / CLI
    text = _WRAPPER.format(
        plugins="|".join(names) or "''",
        directory=shlex.quote(str(places.plugins)),
        docker=shlex.quote(docker),
    )
    wrapper.parent.mkdir(parents=True, exist_ok=True)
    wrapper.write_text(text)
    wrapper.chmod(0o755)
