"""What probes under a runtime have shown, remembered for a day: each of them takes a second.

It holds for one start of one engine, with its runtime as it was then, and one image. What did not
work is not remembered: its user is about to mend it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import SettingsError
from .records import write_json

if TYPE_CHECKING:
    from ..engine.engine import Engine

_SECONDS = 24 * 60 * 60
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# The engine makes it anew each time it starts.
_NETWORK = "bridge"


class Shown(NamedTuple):
    """What a probe has shown.

    Attributes:
        output: Its output.
        age: The seconds since then.
    """

    output: str
    age: float


class Memory:
    """The outputs of probes by which a runtime was found to work, in a file.

    Args:
        path: The file, in a directory of this user's.
        anew: Whether nothing in it counts any more, so that it is only written.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self._path = path
        self._anew = anew

    def recall(self, key: str) -> Shown | None:
        """What was shown; None where it is not known, or not for sure any more."""
        if self._anew or key not in (known := self._read()):
            return None
        at, output = known[key]
        return Shown(output, time.time() - at)

    def note(self, key: str, output: str) -> None:
        """Remember what was shown, as far as the directory can be written."""
        with contextlib.suppress(SettingsError):
            write_json(self._path, {**self._read(), key: [time.time(), output]})

    def _read(self) -> dict[str, tuple[float, str]]:
        try:
            found = json.loads(self._path.read_text())
            known = {str(key): (float(at), str(output)) for key, (at, output) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            # Of another version, or cut short.
            return {}
        now = time.time()
        return {key: shown for key, shown in known.items() if 0 <= now - shown[0] < _SECONDS}


def key(engine: Engine, runtime: str, details: Mapping[str, Any]) -> str:
    """The name of what depends on these details, and on the engine; empty where that isn't known.

    Args:
        engine: The engine.
        runtime: The name of its runtime.
        details: What else the answer depends on.
    """
    from docker.errors import APIError

    info = engine.info()
    try:
        network = engine.client.api.inspect_network(_NETWORK)
    except APIError:
        return ""
    registered = (info.get("Runtimes") or {}).get(runtime)
    if not info.get("ID") or not network.get("Created") or not registered:
        return ""
    grounds = {
        "engine": [engine.place, info["ID"], info.get("ServerVersion"), network["Id"]],
        "started": network["Created"],
        "boot": _BOOT.read_text() if _BOOT.exists() else "",
        "runtime": [registered, _state(str(registered.get("path", "")))],
        "user": [os.getuid(), os.getgid()],
        **details,
    }
    return hashlib.sha256(json.dumps(grounds, sort_keys=True).encode()).hexdigest()


def _state(program: str) -> list[int]:
    """What changes when a program of this machine is replaced; empty for another machine's."""
    with contextlib.suppress(OSError):
        if Path(program).is_absolute():
            found = Path(program).stat()
            return [found.st_ino, found.st_size, found.st_mtime_ns]
    return []
