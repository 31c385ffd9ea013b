"""All of Kubernetes as one binary for the node image, built from its Go modules."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import _inputs
from _console import Problem, run, say, step
from _daemon import search_path

SOURCE = Path(__file__).with_name("kubernetes") / "binary"
# Where Go's own archives are unpacked to, which is not always in PATH.
USUAL_PLACE = "/usr/local/go/bin"
WHAT = "the node image needs Kubernetes, which can't be built here"
REMEDY = "see what go says; where modules can't be had, check the network and GOPROXY"


def ensure(directory: Path, architecture: str) -> Path:
    """Give the binary for Linux, which is kept in a directory until what it is made of changes.

    Raises:
        Problem: it is not there, and there is no Go that could build it, or the build fails.
    """
    binary, noted = directory / "kubernetes", directory / "kubernetes.key"
    key = _inputs.key(SOURCE, architecture)
    if binary.exists() and noted.exists() and noted.read_text() == key:
        say(f"{binary}: there")
        return binary
    go = require_go()
    directory.mkdir(parents=True, exist_ok=True)
    noted.unlink(missing_ok=True)
    build(go, binary, architecture)
    noted.write_text(key)
    return binary


def build(go: Path, binary: Path, architecture: str) -> None:
    """Have Go build it; what Go has in its own cache isn't compiled again."""
    path = os.pathsep.join([str(go.parent), os.environ.get("PATH", "")])
    env = {**os.environ, "PATH": path, "GOOS": "linux", "GOARCH": architecture, "CGO_ENABLED": "0"}
    packages: set[str] = set()

    def listed(line: str) -> str:
        if not line.startswith("go: "):
            packages.add(line)
        return line.strip()

    compiled = itertools.count(1)

    def counted(line: str) -> str:
        return f"package {next(compiled)} of at most {len(packages)}: {line.strip()}"

    with step("getting Kubernetes' Go modules") as shown:
        # In the module's directory, as the build is.
        listing = [str(go), "-C", str(SOURCE), "list", "-deps", "."]
        run(listing, shown, what=WHAT, remedy=REMEDY, env=env, detail=listed)
    with step("building Kubernetes, which takes 12 minutes of one core the first time") as shown:
        command = [str(SOURCE / "build"), str(binary.absolute())]
        run(command, shown, what=WHAT, remedy=REMEDY, env=env, detail=counted)


def require_go() -> Path:
    """Find a Go that is new enough.

    Raises:
        Problem: there is none.
    """
    wanted = _version(re.search(r"^go (\S+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE))
    needed = ".".join(map(str, wanted))
    remedy = (
        f"install Go {needed} or later, as https://go.dev/doc/install says or from Debian trixie "
        "(golang-go), have it in PATH, then run this again"
    )
    found = shutil.which("go", path=os.pathsep.join([search_path(), USUAL_PLACE]))
    if found is None:
        raise Problem(WHAT, f"there is no go in PATH, nor in {USUAL_PLACE}", remedy)
    # In the module's directory Go takes a newer one of itself, where it may get that.
    asked = subprocess.run([found, "version"], cwd=SOURCE, capture_output=True, text=True)
    said = (asked.stdout + asked.stderr).strip()
    has = _version(re.search(r"\bgo(\d\S*)", asked.stdout))
    if asked.returncode or has < wanted:
        raise Problem(WHAT, f"{found} says: {said}\nGo {needed} or later is needed", remedy)
    return Path(found)


def _version(found: re.Match[str] | None) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", found[1])[:2]) if found else ()
