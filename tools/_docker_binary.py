"""Daemons of Docker's releases that no suite of Debian has, built from Docker's Go modules."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from _console import Problem, run, step
from _daemon import search_path
from _node_binary import USUAL_PLACE

PROGRAMS = ("dockerd", "docker-proxy")
REMEDY = "see what go says; where modules can't be had, check the network and GOPROXY"


@dataclass(frozen=True)
class Release:
    """A release of Docker's.

    Attributes:
        name: Its name, as its daemon tells it.
        module: The Go module.
        version: The module's version that it is.
        language: The version of Go's language that it is written in, where no file of the module
            tells: Go takes 1.16 then.
    """

    name: str
    module: str
    version: str
    language: str = ""

    def build(self, directory: Path) -> None:
        """Have Go build the programs in a directory; what is in Go's cache isn't compiled again.

        Raises:
            Problem: there is no Go, or the build fails.
        """
        what = f"Docker {self.name} can't be built here"
        path = shutil.which("go", path=os.pathsep.join([search_path(), USUAL_PLACE]))
        if path is None:
            remedy = "install Go, as https://go.dev/doc/install says, then run this again"
            raise Problem(what, f"there is no go in PATH, nor in {USUAL_PLACE}", remedy)
        env = {**os.environ, "CGO_ENABLED": "0", "GOOS": "linux", "GOFLAGS": "-mod=mod"}
        packages = [f"{self.module}/cmd/{program}" for program in PROGRAMS]
        compiled = itertools.count(1)

        def counted(line: str) -> str:
            return f"package {next(compiled)}: {line.strip()}"

        with step(f"getting the Go modules of Docker {self.name}") as shown:
            go = [path, "-C", str(directory)]
            self._prepare(go, directory, env, what)
            get = [*go, "get", *(f"{package}@{self.version}" for package in packages)]
            run(get, shown, what=what, remedy=REMEDY, env=env)
        with step(f"building Docker {self.name}, which takes minutes the first time") as shown:
            said = f"{self.module}/dockerversion"
            flags = f"-s -w -X {said}.Version={self.name} -X {said}.GitCommit={self.version}"
            options = ["-v", "-trimpath", "-buildvcs=false", f"-ldflags={flags}"]
            if self.language:
                options.append(f"-gcflags={self.module}/...=-lang={self.language}")
            build = [*go, "build", *options, "-o", str(directory), *packages]
            run(build, shown, what=what, remedy=REMEDY, env=env, detail=counted)

    def _prepare(self, go: list[str], directory: Path, env: dict[str, str], what: str) -> None:
        """Begin a module of ours, with the versions that the release is made of."""
        (directory / "go.mod").write_text("module docker\n")
        download = [*go, "mod", "download", "-json", f"{self.module}@{self.version}"]
        done = subprocess.run(download, env=env, capture_output=True, check=False, text=True)
        if done.returncode:
            raise Problem(what, done.stdout + done.stderr, REMEDY)
        # Without a go.mod, as up to 28, what a module needs is in a file of another name.
        needs = Path(json.loads(done.stdout)["Dir"], "vendor.mod")
        if needs.exists():
            text = re.sub("(?m)^module .*", "module docker", needs.read_text())
            (directory / "go.mod").write_text(text)
            shutil.copyfile(needs.with_suffix(".sum"), directory / "go.sum")


RELEASES = {
    "pytest-dind/daemon:25": Release(
        "25.0.6", "github.com/docker/docker", "v25.0.6+incompatible", language="go1.21"
    ),
    "pytest-dind/daemon:27": Release("27.5.1", "github.com/docker/docker", "v27.5.1+incompatible"),
    # The module's releases/versions.yaml says which release a version of it is.
    "pytest-dind/daemon:29": Release("29.8.1", "github.com/moby/moby/v2", "v2.0.0-beta.24"),
}
"""By the images' names."""
