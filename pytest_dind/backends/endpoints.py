"""Engines as the forwarder and the gate, processes of their own, reach them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..engine import http
from ..forwarder.endpoint import Endpoint

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .protocol import Record


def of_daemon(record: Record) -> Endpoint:
    """Where a daemon is reached."""
    if not record.certificates:
        return Endpoint(record.host)
    path = Path(record.certificates)
    ca, certificate, key = (str(path / name) for name in (http.CA, http.CERTIFICATE, http.KEY))
    return Endpoint(record.host, ca, certificate, key, tls=True)


def of_engine(engine: Engine) -> Endpoint:
    """Where the outer engine is reached."""
    tls = engine.tls
    if tls is None:
        return Endpoint(engine.reached)
    certificate, key = tls.cert or ("", "")
    verify = tls.verify is not False
    return Endpoint(engine.reached, tls.ca_cert or "", certificate, key, tls=True, verify=verify)
