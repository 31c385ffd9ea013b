"""Binds of nested containers that find nothing: the path is on this machine, not in the daemon."""

from __future__ import annotations

import http.client
import json
import queue
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from .endpoint import Endpoint

LOOKING, SEEN, UNSEEN = "looking", "seen", "unseen"
"""What is told of a bind: first that it is looked into, and then what came of that."""

# Docker makes a directory where there is none; one that holds nothing of what is in the directory
# here, or is new like it and empty, is such a one.
_LOOK = """
path=$1 kind=$2
shift 2
[ -e "$path" ] || exit 1
if [ "$kind" = file ]; then
	[ ! -d "$path" ]
	exit
fi
for name; do
	[ ! -e "$path/$name" ] || exit 0
done
[ $# -eq 0 ] && [ ! "$path" -nt /etc/hostname ]
"""
_NAMES = 50
_ANSWER_SECONDS = 30


class Binds:
    """Looks into the binds of each container that is created, in a thread of its own.

    Args:
        daemon: The daemon.
        engine: The outer engine.
        container: The id of the daemon's container.
        told: The file that takes what came of it.
    """

    def __init__(self, daemon: Endpoint, engine: Endpoint, container: str, told: Path) -> None:
        self._daemon = daemon
        self._engine = engine
        self._container = container
        self._told = told
        self._ids: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._mounted: list[str] | None = None
        self._known: set[str] = set()

    def start(self) -> None:
        """Begin to look; what an earlier forwarder told of a daemon that is reused is forgotten."""
        self._told.unlink(missing_ok=True)
        threading.Thread(target=self._run, daemon=True).start()

    def created(self, container: str) -> None:
        """Have the binds of a container looked into."""
        self._ids.put(container)

    def _run(self) -> None:
        while True:
            container = self._ids.get()
            # The daemon tells of what was before, when it is asked anew.
            if container in self._known:
                continue
            self._known.add(container)
            try:
                self._look_into(container)
            except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
                print(f"binds of {container}: {error}", file=sys.stderr, flush=True)

    def _look_into(self, container: str) -> None:
        target = f"/containers/{container}/json"
        details = self._daemon.ask("GET", target, timeout=_ANSWER_SECONDS)
        name = str(details["Name"]).lstrip("/")
        # What is not here either, the test does not expect there.
        doubtful = [
            path
            for path in sorted(set(sources(details)))
            if Path(path).exists() and not any(is_below(path, one) for one in self._places())
        ]
        # All before the first answer: who reads this waits for as many answers.
        for path in doubtful:
            self._tell(name, path, LOOKING)
        for path in doubtful:
            verdict = SEEN
            try:
                verdict = SEEN if self._is_there(path, doubtful) else UNSEEN
            finally:
                self._tell(name, path, verdict)

    def _places(self) -> list[str]:
        """The directories that the outer engine mounts in the daemon's container."""
        if self._mounted is None:
            target = f"/containers/{self._container}/json"
            details = self._engine.ask("GET", target, timeout=_ANSWER_SECONDS)
            self._mounted = [mount["Destination"] for mount in details["Mounts"]]
        return self._mounted

    def _is_there(self, path: str, doubtful: Collection[str]) -> bool:
        is_directory = Path(path).is_dir()
        kind = "directory" if is_directory else "file"
        found = sorted(Path(path).iterdir())[:_NAMES] if is_directory else []
        # Docker makes directories for the others, too.
        names = [one.name for one in found if str(one) not in doubtful]
        # Loaded only where it is needed: it needs ssl.
        from .tunnel import Tunnels

        return not Tunnels(self._engine, self._container).run(_LOOK, path, kind, *names)

    def _tell(self, name: str, path: str, verdict: str) -> None:
        line = json.dumps({"container": name, "path": path, "verdict": verdict})
        with self._told.open("a") as file:
            file.write(f"{line}\n")


def sources(details: Mapping[str, Any]) -> Iterator[str]:
    """Return the paths that a container binds, which are those of its daemon."""
    config = details["HostConfig"]
    for bind in config.get("Binds") or []:
        source = bind.partition(":")[0]
        # Others are names of volumes.
        if source.startswith("/"):
            yield source
    for mount in config.get("Mounts") or []:
        if mount.get("Type") == "bind":
            yield mount["Source"]


def is_below(path: str, place: str) -> bool:
    """Whether a path is a directory, or lies below it."""
    return Path(path).is_relative_to(place)
