"""The proxies that a daemon reaches registries through: one rule, in docs/proxies.md."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from .subnets import Network

if TYPE_CHECKING:
    from ..engine.streams import Progress

NO_PROXY = "NO_PROXY"
KINDS = {"HTTP_PROXY": "HttpProxy", "HTTPS_PROXY": "HttpsProxy"}
"""The variables of dockerd, and what an engine's `info` names them."""
# What an engine's `info` has in place of a name and a password (moby, daemon/info.go).
_MASKED = "xxxxx:xxxxx@"
_EVERYWHERE = ("localhost", "127.0.0.0/8", "::1", "host.docker.internal")
_CONNECT_SECONDS = 0.5


@dataclass(frozen=True)
class Surroundings:
    """What is around a daemon that is to have proxies.

    Attributes:
        info: The outer engine's, as its API gives it.
        variables: The environment of the test process.
        network: The daemon's own networks, and how their containers reach this machine.
        names: The names of the run's daemons.
    """

    info: Mapping[str, Any]
    variables: Mapping[str, str]
    network: Network
    names: Iterable[str]

    def proxies(self, progress: Progress) -> dict[str, str]:
        """The proxies of the outer engine, else those of the test process, as dockerd reads them.

        One on loopback is led to the machine where it listens, or left out, which is told.
        """
        told = {name: str(self.info.get(key) or "") for name, key in KINDS.items()}
        whose = "the outer engine"
        if not any(told.values()):
            told = {name: self._variable(name) for name in KINDS}
            whose = "this process's environment"
        found = {}
        for name, url in told.items():
            used, why = self._led(self._unmasked(name, url)) if url else ("", "")
            if used:
                found[name] = used
            elif why:
                progress(
                    f"{name} of {whose}, {place(url)}, is left out: {why}; to give the daemon a "
                    f"proxy: --dind-env {name}=URL"
                )
        return found

    def no_proxy(self) -> str:
        """What is reached without a proxy: what is said so outside, and what is the run's own."""
        given = str(self.info.get("NoProxy") or "") or self._variable(NO_PROXY)
        ours = [*_EVERYWHERE, str(self.network.level), *self.names]
        parts = [part.strip() for part in given.split(",")]
        return ",".join(dict.fromkeys([*filter(None, parts), *ours]))

    def _variable(self, name: str) -> str:
        return self.variables.get(name) or self.variables.get(name.lower()) or ""

    def _unmasked(self, name: str, url: str) -> str:
        """The same with its password, if this process's environment has the same proxy."""
        own = self._variable(name)
        return own if _MASKED in url and place(own) == place(url) else url

    def _led(self, url: str) -> tuple[str, str]:
        """A proxy as the daemon reaches it; else an empty text, and why it can't be had."""
        if _MASKED in url:
            return "", "the engine does not tell its password"
        parts = _split(url)
        if not _is_loopback(parts):
            return url, ""
        if not _listens(self.network.gateway, parts):
            return "", "loopback is the daemon's own there"
        host = f"[{self.network.gateway}]" if ":" in self.network.gateway else self.network.gateway
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return parts._replace(netloc=f"{login}{host}:{parts.port}").geturl(), ""


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        # Not a URL; dockerd says so itself.
        return SplitResult("", "", url, "", "")


def place(url: str) -> str:
    """A proxy's host and port, without a password."""
    return _split(url).netloc.rpartition("@")[2]


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _listens(gateway: str, parts: SplitResult) -> bool:
    """Whether a proxy on this machine's loopback listens on the address too that containers have.

    That address must be this machine's: elsewhere, something else would answer.
    """
    if not gateway:
        return False
    try:
        with socket.socket(socket.AF_INET6 if ":" in gateway else socket.AF_INET) as own:
            own.bind((gateway, 0))
        socket.create_connection((gateway, parts.port or 0), _CONNECT_SECONDS).close()
    except (OSError, ValueError):
        # A ValueError: its port is none.
        return False
    return True
