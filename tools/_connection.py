"""Finding an engine that answers, the way the docker command line does."""

from __future__ import annotations

import os
import socket
from typing import Any

import docker
import docker.errors
import requests
from _console import Problem

DEFAULT_HOST = "unix:///var/run/docker.sock"
PING_SECONDS = 10
WORK_SECONDS = 600


def client_for(host: str, *, timeout: float = WORK_SECONDS) -> docker.DockerClient:
    """Make a client of the engine at this address; nothing is asked of it yet."""
    return docker.DockerClient(base_url=host, timeout=int(timeout))


def answers(host: str) -> bool:
    """Tell whether an engine serves at this address now."""
    return why_silent(host) is None


def why_silent(host: str) -> str | None:
    """Say why no engine serves at this address; None when one does."""
    try:
        knock(host)
        client = client_for(host, timeout=PING_SECONDS)
        try:
            client.ping()
        finally:
            client.close()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        return reason(error)
    return None


def knock(host: str) -> None:
    """Connect to a unix socket and close it: docker-py leaves one open where nothing answers."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PING_SECONDS)
            probe.connect(host.removeprefix("unix://"))


def find() -> docker.DockerClient | None:
    """Connect to the engine that the environment names, or to the default one.

    Raises:
        Problem: `DOCKER_HOST` names an engine that does not answer, or the socket is not ours
            to use. To go on with another engine than the named one would be a surprise.
    """
    refusal = ""
    try:
        knock(address())
        client = docker.from_env(timeout=WORK_SECONDS)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        refusal = reason(error)
    else:
        return client
    named = os.environ.get("DOCKER_HOST")
    if named:
        raise Problem(
            f"the engine at DOCKER_HOST={named} does not answer",
            refusal,
            "start that engine, or unset DOCKER_HOST to use or start one on this machine",
        )
    if "Permission denied" in refusal:
        raise Problem(
            "this user has no right to the engine's socket",
            refusal,
            "add the user to the group `docker` and log in again, or run this as root",
        )
    return client_for(DEFAULT_HOST) if answers(DEFAULT_HOST) else None


def address() -> str:
    """Give the address that the environment, or the docker context, leads to."""
    context = docker.ContextAPI.get_context(os.environ.get("DOCKER_CONTEXT"))
    host = os.environ.get("DOCKER_HOST") or (context and context.Host) or DEFAULT_HOST
    return str(host).removeprefix("http+")


def reason(error: BaseException) -> str:
    """Take the core out of an error that others have wrapped several times."""
    if isinstance(error, docker.errors.APIError) and error.explanation:
        return str(error.explanation)
    innermost: Any = error
    while innermost.__cause__ or innermost.__context__:
        innermost = innermost.__cause__ or innermost.__context__
    return f"{type(innermost).__name__}: {innermost}"
