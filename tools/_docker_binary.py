"""The daemon of a Docker that no suite of Debian has, built from its Go modules."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

from _console import Problem, run, step
from _daemon import search_path
from _node_binary import USUAL_PLACE

MODULE = "github.com/moby/moby/v2"
# The release that this version of the module is: its releases/versions.yaml says so.
VERSION, RELEASE = "v2.0.0-beta.24", "29.8.1"
PROGRAMS = ("dockerd", "docker-proxy")
WHAT = f"Docker {RELEASE} can't be built here"
REMEDY = "see what go says; where modules can't be had, check the network and GOPROXY"


def build(directory: Path) -> None:
    """Have Go build the programs in a directory; what it has in its cache isn't compiled again.

    Raises:
        Problem: there is no Go, or the build fails.
    """
    go = shutil.which("go", path=os.pathsep.join([search_path(), USUAL_PLACE]))
    if go is None:
        remedy = "install Go, as https://go.dev/doc/install says, then run this again"
        raise Problem(WHAT, f"there is no go in PATH, nor in {USUAL_PLACE}", remedy)
    env = {**os.environ, "CGO_ENABLED": "0", "GOOS": "linux"}
    packages = [f"{MODULE}/cmd/{name}" for name in PROGRAMS]
    compiled = itertools.count(1)

    def counted(line: str) -> str:
        return f"package {next(compiled)}: {line.strip()}"

    with step(f"getting Docker's Go modules, {VERSION}") as shown:
        (directory / "go.mod").write_text("module docker\n")
        get = [go, "-C", str(directory), "get", *(f"{package}@{VERSION}" for package in packages)]
        run(get, shown, what=WHAT, remedy=REMEDY, env=env)
    with step(f"building Docker {RELEASE}, which takes minutes the first time") as shown:
        said = f"{MODULE}/dockerversion"
        flags = f"-s -w -X {said}.Version={RELEASE} -X {said}.GitCommit={VERSION}"
        options = ["-v", "-trimpath", "-buildvcs=false", f"-ldflags={flags}", "-o", str(directory)]
        command = [go, "-C", str(directory), "build", *options, *packages]
        run(command, shown, what=WHAT, remedy=REMEDY, env=env, detail=counted)
