"""HTTP to a daemon, over a unix socket or over TLS, and docker clients on it."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..lifetime import unix_http

if TYPE_CHECKING:
    import docker

CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"
"""In a directory of certificates, as the docker CLI has them in `DOCKER_CERT_PATH`."""

_ACCEPT_SECONDS = 5
_ANSWER_SECONDS = 1
# Another thread may be changing the environment, which can't be read then.
_TRIES = 9

CHOOSE_AN_ENGINE = frozenset(
    {
        # The docker CLI, docker-py, compose.
        "DOCKER_HOST",
        "DOCKER_CONTEXT",
        "DOCKER_TLS",
        "DOCKER_TLS_VERIFY",
        "DOCKER_CERT_PATH",
        "DOCKER_API_VERSION",
        "DOCKER_MACHINE_NAME",
        # buildx
        "BUILDX_BUILDER",
        "BUILDKIT_HOST",
        # testcontainers
        "TC_HOST",
        "TESTCONTAINERS_CONNECTION_MODE",
        "TESTCONTAINERS_HOST_OVERRIDE",
        "TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE",
        # podman
        "CONTAINER_HOST",
        "CONTAINER_CONNECTION",
        "CONTAINER_SSHKEY",
    }
)
"""The variables by which tools choose an engine, or the way to it; others only configure them."""


def new_connection(host: str, certificates: str, timeout: float) -> http.client.HTTPConnection:
    """An HTTP connection to the daemon at `host`, which connects with its first request."""
    if not certificates:
        return unix_http.UnixConnection(host.removeprefix(unix_http.SCHEME), timeout)
    url = urlsplit(host)
    return http.client.HTTPSConnection(
        url.hostname or "", url.port, timeout=timeout, context=context(certificates)
    )


def context(certificates: str) -> ssl.SSLContext:
    """TLS with the certificates of a directory: only its CA is trusted, and names are checked."""
    path = Path(certificates)
    made = ssl.create_default_context(cafile=str(path / CA))
    made.load_cert_chain(path / CERTIFICATE, path / KEY)
    return made


def is_served(host: str, certificates: str = "", *, asks: bool = False) -> bool:
    """Whether a server accepts connections at `host`; one that is merely busy does.

    Args:
        host: The server's URL.
        certificates: The directory of the client's certificates; empty for a unix socket.
        asks: Whether to wait for an answer too: a server that is being killed loses its clients
            before the kernel refuses further ones.
    """
    try:
        seconds = _ANSWER_SECONDS if asks else _ACCEPT_SECONDS
        connection = new_connection(host, certificates, seconds)
    except OSError:
        return False
    try:
        connection.connect()
        if asks:
            connection.request("GET", "/_ping")
            connection.getresponse().read()
    except (FileNotFoundError, ConnectionError, ssl.SSLError, http.client.HTTPException):
        # A port's forwarder accepts also for a daemon that is gone, but then has no handshake.
        return False
    except OSError:
        # A full backlog, or a time-out: somebody has the socket.
        return True
    finally:
        connection.close()
    return True


def ping(host: str, certificates: str = "", *, timeout: float = 5) -> str | None:
    """Ask the daemon at `host` whether it serves.

    docker-py's own ping needs a client, and a client needs a daemon that answers already.

    Returns:
        The newest API version the daemon speaks, or None while it does not serve.
    """
    try:
        return greeting(host, certificates, timeout=timeout)
    except (OSError, http.client.HTTPException):
        return None


def greeting(host: str, certificates: str = "", *, timeout: float) -> str | None:
    """The newest API version that the daemon at `host` speaks; None where it doesn't say so.

    Raises:
        OSError: nobody listens there, or answers in time.
        http.client.HTTPException: the answer is no HTTP.
    """
    connection = new_connection(host, certificates, timeout)
    try:
        connection.request("GET", "/_ping")
        response = connection.getresponse()
        response.read()
        return response.getheader("Api-Version") or None if response.status == 200 else None
    finally:
        connection.close()


def client(host: str, certificates: str = "", **kwargs: Any) -> docker.DockerClient:
    """A docker client on the daemon at `host`, with the user's credentials for registries.

    Args:
        host: The daemon's URL.
        certificates: The directory of the client's certificates; empty for a unix socket.
        kwargs: As `docker.DockerClient` takes them.
    """
    from docker.tls import TLSConfig

    from . import credentials

    if not certificates:
        return credentials.equip(own_client(base_url=host, **kwargs))
    path = Path(certificates)
    tls = TLSConfig(
        client_cert=(str(path / CERTIFICATE), str(path / KEY)), ca_cert=str(path / CA), verify=True
    )
    return credentials.equip(own_client(base_url=host, tls=tls, **kwargs))


def own_client(*, base_url: str, version: str | None = None, **kwargs: Any) -> docker.DockerClient:
    """A docker client in which the environment has no part, but for a proxy before plain TCP.

    So it trusts its own CA whatever the environment says (docker-py#2433). And it may ask in any
    thread: requests, which docker-py is made of, looks for proxies in the environment at each
    request, and fails with a KeyError where pytest changes PYTEST_CURRENT_TEST meanwhile. This one
    has looked before.

    Args:
        base_url: The engine's URL.
        version: The API version to speak; without, the engine's newest.
        kwargs: Further arguments of `docker.DockerClient`.
    """
    import docker
    from docker.constants import MINIMUM_DOCKER_API_VERSION

    # Without a version it would ask the engine for one before it has `trust_env`.
    made = docker.DockerClient(
        base_url=base_url, version=version or MINIMUM_DOCKER_API_VERSION, **kwargs
    )
    made.api.trust_env = False
    if "tls" not in kwargs and not base_url.startswith(unix_http.SCHEME):
        made.api.proxies.update(_proxies(made.api.base_url))
    if version:
        return made
    with contextlib.closing(made):
        found = made.version(api_version=False)["ApiVersion"]
    return own_client(base_url=base_url, version=found, **kwargs)


def _proxies(url: str) -> dict[str, str]:
    """The proxies that the environment has for a URL, by their schemes."""
    from requests.utils import get_environ_proxies

    for _ in range(_TRIES):
        with contextlib.suppress(KeyError, RuntimeError):
            return get_environ_proxies(url)
    return get_environ_proxies(url)


def environment(inherited: Mapping[str, str], host: str, certificates: str = "") -> dict[str, str]:
    """An environment in which tools find the daemon at `host`, and no other one."""
    found = {k: v for k, v in inherited.items() if k not in CHOOSE_AN_ENGINE}
    if certificates:
        # docker-py would trust these instead of the daemon's CA, and tools would ask a proxy.
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            found.pop(name, None)
        for name in ("NO_PROXY", "no_proxy"):
            found[name] = ",".join(filter(None, [found.get(name), urlsplit(host).hostname]))
    return found | variables(host, certificates)


def variables(host: str, certificates: str = "") -> dict[str, str]:
    """The `DOCKER_*` variables that point a tool at the daemon at `host`."""
    found = {"DOCKER_HOST": host}
    if certificates:
        found |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": certificates}
    return found
