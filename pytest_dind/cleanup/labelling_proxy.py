"""A way to a daemon that labels what is made through it: one for each process that shares it.

Several processes make things in one daemon at the same time, and nothing in the daemon tells whose
a thing is. So each has a socket of its own, in front of the daemon's, which adds a label to the
calls that make containers, networks and volumes, and hands on all else byte for byte.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from ..guard.rules.mounts import with_anonymous
from .inventory import BY

_CREATE = re.compile(r"(?:/v[\d.]+)?/(?P<kind>containers|networks|volumes)/create")
_HEAD_LIMIT = 1024 * 1024
_CHUNK = 256 * 1024
_SECONDS = 60
_PAUSE_SECONDS = 0.02
_END = b"\r\n\r\n"


class Stamp:
    """A socket at `path` in front of the one at `target`.

    Attributes:
        by: What the label says; set to another text at any time.
        path: Its own socket.
        target: The URL of the one behind it.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.by = ""
        self.path = path
        self.target = f"unix://{target}"
        self._behind = str(target)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        path.chmod(0o660)
        self._listening.listen(128)
        threading.Thread(target=self._serve, name="pytest-dind stamp", daemon=True).start()

    def close(self) -> None:
        """Take no further connections; those that are open go on."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.path.unlink(missing_ok=True)

    def _serve(self) -> None:
        # The end of the listening socket ends it.
        while self._listening.fileno() >= 0:
            try:
                client, _ = self._listening.accept()
            except OSError:
                # Too many open files, perhaps: connections that have come are taken later.
                time.sleep(_PAUSE_SECONDS)
                continue
            threading.Thread(target=self._handle, args=(client,), daemon=True).start()

    def _handle(self, client: socket.socket) -> None:
        """One request, and all that follows on its connection."""
        with client, contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            received = b""
            while _END not in received and len(received) < _HEAD_LIMIT:
                chunk = client.recv(_CHUNK)
                if not chunk:
                    return
                received += chunk
            head, _, rest = received.partition(_END)
            request = self._request(head, rest, client)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
                daemon.connect(self._behind)
                daemon.sendall(request)
                other = threading.Thread(target=_pump, args=(client, daemon), daemon=True)
                other.start()
                _pump(daemon, client)
                # What the daemon has ended, the client need not go on with.
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                other.join()

    def _request(self, head: bytes, rest: bytes, client: socket.socket) -> bytes:
        """The request as the daemon gets it, as far as it has come."""
        first, *lines = head.split(b"\r\n")
        method, target, _ = first.decode("latin-1").split(" ", 2)
        fields = [(name, value) for name, _, value in (line.partition(b":") for line in lines)]
        known = {name.lower(): value.strip() for name, value in fields}
        upgrades = b"upgrade" in known
        made = _CREATE.fullmatch(urlsplit(target).path) if method == "POST" else None
        dropped = set() if upgrades else {b"connection"}
        if made and self.by:
            body = _body(known, rest, client)
            rest = self._stamped(made["kind"], body)
            dropped |= {b"content-length", b"transfer-encoding"}
        kept = [
            name + b":" + value for name, value in fields if name.strip().lower() not in dropped
        ]
        if not upgrades:
            # One request to a connection, so that nothing but its head has to be understood.
            kept.append(b"Connection: close")
        if b"content-length" in dropped:
            kept.append(b"Content-Length: %d" % len(rest))
        return b"\r\n".join([first, *kept]) + _END + rest

    def _stamped(self, kind: str, body: bytes) -> bytes:
        """The body of a call that makes something, with the label."""
        try:
            asked = json.loads(body)
        except ValueError:
            # The daemon has its own word for that.
            return body
        if not isinstance(asked, dict):
            return body
        asked["Labels"] = {**(asked.get("Labels") or {}), BY: self.by}
        host = asked.get("HostConfig") or {}
        if kind == "containers":
            self._stamp_mounts(host.get("Mounts") or [])
            for bind in host.get("Binds") or []:
                self._make_volume(str(bind).partition(":")[0], host.get("VolumeDriver") or "")
            asked["HostConfig"] = self._with_volumes(asked, host)
        return json.dumps(asked).encode()

    def _with_volumes(self, asked: dict[str, Any], host: dict[str, Any]) -> dict[str, Any]:
        """The host's part for a new container, which has the label on volumes without a name."""
        inherited = list(self._of_others(host.get("VolumesFrom") or []))
        image = self._ask("GET", f"/images/{quote(str(asked.get('Image')), safe='/:@')}/json") or {}
        of_image = (image.get("Config") or {}).get("Volumes") or {}
        declared = {*(asked.get("Volumes") or {}), *of_image}
        return with_anonymous(host, declared, inherited, {BY: self.by})

    def _of_others(self, others: list[str]) -> Iterator[str]:
        """The places that other containers' volumes take in one that has them too."""
        for other in others:
            there = self._ask("GET", f"/containers/{quote(other.partition(':')[0])}/json") or {}
            yield from (mount["Destination"] for mount in there.get("Mounts") or [])

    def _stamp_mounts(self, mounts: list[dict[str, Any]]) -> None:
        for mount in mounts:
            if mount.get("Type") == "volume":
                options = mount.setdefault("VolumeOptions", {}) or {}
                options["Labels"] = {**(options.get("Labels") or {}), BY: self.by}
                mount["VolumeOptions"] = options

    def _make_volume(self, name: str, driver: str) -> None:
        """Make a volume as the container's start would, but with the label; one that is, stays."""
        if not name or "/" in name:
            return
        asked = {"Name": name, "Labels": {BY: self.by}, **({"Driver": driver} if driver else {})}
        self._ask("POST", "/volumes/create", asked)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the daemon something of this process's own; what it answers, None for a refusal."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
            daemon.settimeout(_SECONDS)
            daemon.connect(self._behind)
            connection = http.client.HTTPConnection("localhost")
            connection.sock = daemon
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            content = answer.read()
            return json.loads(content) if answer.status < HTTPStatus.BAD_REQUEST else None


def _body(known: dict[bytes, bytes], rest: bytes, client: socket.socket) -> bytes:
    """The whole body of a request, of which `rest` has come."""
    if b"chunked" in known.get(b"transfer-encoding", b"").lower():
        return _chunked(rest, client)
    length = int(known.get(b"content-length", b"0"))
    while len(rest) < length:
        rest += _more(client)
    return rest


def _chunked(rest: bytes, client: socket.socket) -> bytes:
    body = b""
    while True:
        while b"\r\n" not in rest:
            rest += _more(client)
        size, _, rest = rest.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        while len(rest) < length + 2:
            rest += _more(client)
        body, rest = body + rest[:length], rest[length + 2 :]
        if not length:
            return body


def _more(client: socket.socket) -> bytes:
    chunk = client.recv(_CHUNK)
    if not chunk:
        raise ConnectionError("the request is cut short")
    return chunk


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes, and then its end."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
