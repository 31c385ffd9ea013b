"""The outer engine: found as the docker CLI finds it, connected to, or explained."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import EngineUnavailable
from . import activation, flavor, http, ssh

if TYPE_CHECKING:
    import docker
    from docker.tls import TLSConfig

_DEFAULT_HOST = "unix:///var/run/docker.sock"
_KNOCK_SECONDS = 5
_FIRST_SECONDS = 10
_PORT = 2375
# Docker Desktop's own socket, on Linux.
_DESKTOP = "/.docker/desktop/"

_START = "Start a Docker engine, or install one (https://docs.docker.com/engine/install/)."
# Texts of OpenSSL, requests, docker-py and Go's server.
_ABOUT_TLS = r"certificate|SSL:|SSLError|TLS configuration|HTTPS server"
_CERTIFICATES = (
    "Give the certificates that the engine takes: DOCKER_TLS_VERIFY=1, and in DOCKER_CERT_PATH a "
    "directory with its ca.pem, and a cert.pem and key.pem of a client's.",
    "Use the name of the engine's host that is in its certificate.",
)
_POINT = "Name another engine with --dind-host or DOCKER_HOST."


class Engine:
    """The outer engine; connected to when it is first needed.

    Args:
        host: A URL (`unix:///…`, `tcp://…`, `ssh://…`) or a docker context's name; empty means as
            the docker CLI finds it: `DOCKER_HOST`, then `DOCKER_CONTEXT`, then the current context;
            where none leads anywhere, `CONTAINER_HOST`, as Podman's clients do.
        timeout: Seconds a call may take.

    Attributes:
        timeout: The same.
        answered: When it has answered last, as `time.monotonic` has it; 0 before.
    """

    def __init__(self, host: str = "", *, timeout: int = 60) -> None:
        self._host = host
        self.timeout = timeout
        self.answered = 0.0
        self._client: docker.DockerClient | None = None
        self._connecting = threading.Lock()
        self._tunnel: ssh.Tunnel | None = None
        self._reached = ""
        self._unshared = ""
        self._asking: threading.Thread | None = None
        self._info: Mapping[str, Any] = {}

    @cached_property
    def _where(self) -> dict[str, Any]:
        from docker.errors import DockerException

        try:
            return _resolve(self._host)
        except DockerException as error:
            # Only the variables can be wrong here: DOCKER_TLS_VERIFY, as a rule.
            raise _unavailable(os.environ.get("DOCKER_HOST", _DEFAULT_HOST), error) from error

    @property
    def url(self) -> str:
        """The engine's URL."""
        return str(self._where["base_url"])

    @property
    def place(self) -> str:
        """Its URL; the path of a socket has its symbolic links resolved."""
        path = self.url.removeprefix("unix://")
        return self.url if path == self.url else f"unix://{os.path.realpath(path)}"

    @property
    def address(self) -> str:
        """The host that it is on; empty for one that has a unix socket."""
        if self.url.startswith("ssh://"):
            return ssh.address(self.url)
        return urlsplit(self.url).hostname or ""

    @property
    def unshared(self) -> str:
        """Why its containers don't see this process's directories; empty where they may."""
        if not self.url.startswith("unix://"):
            return "its file system is not shared"
        return "it runs in a virtual machine" if self.is_virtual else self._unshared

    @property
    def is_virtual(self) -> bool:
        """Whether it is known to run in a virtual machine on this one."""
        return self.url.startswith("unix://") and (sys.platform == "darwin" or _DESKTOP in self.url)

    @cached_property
    def own_container(self) -> Mapping[str, Any] | None:
        """The details of its container that this process runs in; None where it is in none.

        They are asked for once, and only by a process that runs in a container.
        """
        from . import own_container

        return own_container.find(self)

    @property
    def own_container_id(self) -> str:
        """The id of its container that this process runs in; empty where it is in none."""
        return str((self.own_container or {}).get("Id", ""))

    def mark_unshared(self, reason: str) -> None:
        """Note that its containers turned out not to see this process's directories."""
        self._unshared = reason

    @property
    def reached(self) -> str:
        """The URL at which it was connected to: this end of the tunnel to one that is ssh's."""
        return self._reached or self.url

    @property
    def tls(self) -> TLSConfig | None:
        """Docker-py's configuration of TLS to it; None without TLS."""
        found: TLSConfig | bool | None = self._where.get("tls")
        return found or None  # type: ignore[return-value]

    @property
    def api_version(self) -> str:
        """The newest API that it speaks; empty while nobody has asked it anything."""
        return str(self._client.api.api_version) if self._client is not None else ""

    @property
    def client(self) -> docker.DockerClient:
        """A docker client on it.

        Raises:
            EngineUnavailable: nobody answers there, or this user may not ask.
        """
        from docker.errors import DockerException

        # Daemons may be asked for in several threads.
        with self._connecting:
            if self._client is None:
                try:
                    self._client = self._connected()
                except (OSError, ValueError, DockerException) as error:
                    # A ValueError: the URL is none.
                    raise _unavailable(self.url, error) from error
            return self._client

    def _connected(self) -> docker.DockerClient:
        from . import credentials

        url = self._reached or self.url
        if url.startswith("ssh://"):
            self._tunnel = ssh.Tunnel(url)
            url = self._tunnel.host
        self._reached = url
        # A host that says nothing is not waited for as long as a call may take.
        first = self.timeout if url.startswith("unix://") else min(self.timeout, _FIRST_SECONDS)
        where = {"timeout": first, "version": _knock(url, first), **self._where, "base_url": url}
        made = http.own_client(**where)
        made.api.timeout = self.timeout
        made.api.hooks["response"].append(self._note_answer)
        return credentials.equip(made)

    def _note_answer(self, *answer: object, **how: object) -> None:
        self.answered = time.monotonic()

    def ask_for_info(self) -> None:
        """Begin to ask it for its `info`, beside other questions: that takes some 15 ms.

        Raises:
            EngineUnavailable: nobody answers there, or this user may not ask.
        """
        client = self.client
        if self._info:
            return

        def ask() -> None:
            # An engine that can't be asked says so to the other questions.
            with contextlib.suppress(Exception):
                self.keep_info(client.info())

        with self._connecting:
            if self._asking is None:
                self._asking = threading.Thread(target=ask, daemon=True)
                self._asking.start()

    def keep_info(self, info: Mapping[str, Any]) -> None:
        """Note what it has told about itself, so that nobody has to ask for it again."""
        self._info = info

    def info(self) -> Mapping[str, Any]:
        """What it tells about itself, asked for once; empty where it does not tell."""
        self.ask_for_info()
        if self._asking is not None:
            self._asking.join(self.timeout)
        return self._info

    def patient(self, seconds: int) -> Engine:
        """The same engine over a further connection, on which a call may take so long."""
        other = Engine(self._host, timeout=seconds)
        # A test may have changed the environment since.
        other._where = self._where
        other._reached = self._reached
        other._info = self._info
        return other

    def close(self, *, waits: bool = True) -> None:
        """Close the connection, if there is one.

        Args:
            waits: Whether to wait for the answer to a question that is under way.
        """
        if self._asking is not None:
            # It would open another one.
            self._asking.join(_KNOCK_SECONDS if waits else 0)
            self._asking = None
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._tunnel is not None:
            self._tunnel.close()
            self._tunnel = None
            self._reached = ""


@contextlib.contextmanager
def answering(engine: Engine) -> Iterator[None]:
    """Turn a docker client's error into one that says that the engine is unavailable.

    Raises:
        EngineUnavailable: in place of the docker client's error.
    """
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except (DockerException, RequestException) as error:
        raise EngineUnavailable(
            f"The Docker engine at {engine.url} does not answer as it should.",
            evidence=str(getattr(error, "explanation", None) or error),
            remedy=[
                "Look at the engine's own log (journalctl -u docker), and restart it if it hangs.",
                _POINT,
            ],
        ) from error


def _resolve(host: str) -> dict[str, Any]:
    """The arguments with which docker-py reaches the engine `host`: `base_url`, and `tls`."""
    from docker.utils import kwargs_from_env

    if host.startswith("unix://"):
        return {"base_url": host}
    # Not a daemon's, which the process's own environment may lead to.
    variables = activation.outside()
    if "://" in host:
        # Its certificates are where the docker CLI looks for them.
        return dict(kwargs_from_env({**variables, "DOCKER_HOST": host}))
    found: dict[str, Any] = {} if host else dict(kwargs_from_env(variables))
    if "base_url" not in found:
        found = _context(host or variables.get("DOCKER_CONTEXT", ""))
    found = {"base_url": _DEFAULT_HOST} | found
    podman = flavor.container_host(variables)
    if not host and podman and "DOCKER_HOST" not in variables and _leads_nowhere(found):
        return dict(kwargs_from_env({"DOCKER_HOST": podman}))
    return found


def _leads_nowhere(found: Mapping[str, Any]) -> bool:
    """Whether an engine was found by nothing but the usual socket, which isn't there."""
    path = _DEFAULT_HOST.removeprefix("unix://")
    return found["base_url"] == _DEFAULT_HOST and not os.path.lexists(path)


def _context(host: str) -> dict[str, Any]:
    """The same for a context: the one named, or the current one."""
    from docker.context import ContextAPI
    from docker.context.config import get_current_context_name

    name = host or get_current_context_name()
    remedy = [
        "Give --dind-host a URL (unix:///…) or the name of a context that exists.",
        "Correct the variable DOCKER_CONTEXT, if the name comes from there.",
        "Change the current context, if it is that: docker context use default.",
    ]
    try:
        found = ContextAPI.get_context(name)
        known = [] if found else [context.Name for context in ContextAPI.contexts()]
    except Exception as error:  # docker-py has no other for a file that it can't read
        raise EngineUnavailable(
            f"The docker context {name!r} cannot be read.",
            evidence=str(error),
            remedy=["Make that context anew: docker context rm, docker context create.", *remedy],
        ) from error
    if found is None:
        raise EngineUnavailable(
            f"The docker context {name!r} does not exist.",
            evidence=f"Contexts found: {', '.join(known)}.",
            remedy=remedy,
        )
    return dict(ContextAPI.kwargs_from_context(name))


def _knock(url: str, seconds: float) -> str | None:
    """Check that somebody listens; if not, docker-py would leave a socket open, with a warning.

    Returns:
        The API version to speak, on a unix socket: docker-py would ask for it in a way that takes
        the engine some 10 ms.
    """
    parts = urlsplit(url)
    if parts.scheme == "tcp" and parts.hostname:
        socket.create_connection((parts.hostname, parts.port or _PORT), _KNOCK_SECONDS).close()
    if not url.startswith("unix://"):
        return None
    with contextlib.suppress(HTTPException):
        return http.greeting(url, timeout=seconds)
    return None


def _unavailable(where: str, error: Exception) -> EngineUnavailable:
    """The error for an engine that can't be reached; its socket tells the cause."""
    what = f"The Docker engine at {where} cannot be used."
    if re.search(_ABOUT_TLS, str(error)):
        return EngineUnavailable(what, evidence=str(error), remedy=[*_CERTIFICATES, _POINT])
    if not where.startswith("unix://"):
        return EngineUnavailable(
            what,
            evidence=str(error),
            remedy=["Check that the engine runs and is reachable from here.", _POINT],
        )
    path = Path(where.removeprefix("unix://"))
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except PermissionError:
        return _denied(what, path)
    except OSError:
        podman = flavor.elsewhere(activation.outside()) if where == _DEFAULT_HOST else []
        return EngineUnavailable(
            what, evidence=f"There is no socket {path}.", remedy=[*podman, _START, _POINT]
        )
    if not is_socket:
        return EngineUnavailable(what, evidence=f"{path} is not a socket.", remedy=[_POINT])
    if not os.access(path, os.W_OK):
        return _denied(what, path)
    return EngineUnavailable(
        what,
        evidence=f"The socket {path} is there, but: {error}",
        remedy=["Start the engine; the socket may be left from one that ended.", _POINT],
    )


def _denied(what: str, path: Path) -> EngineUnavailable:
    return EngineUnavailable(
        what,
        evidence=f"This user (uid {os.getuid()}) may not write to the socket {path}.",
        remedy=[
            "Add the user to the socket's group (sudo usermod -aG docker $USER) and log in again.",
            "Use an engine of the user's own (rootless Docker) through --dind-host.",
        ],
    )
