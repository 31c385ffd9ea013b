"""Access to a cluster: its kubeconfig read, and written anew for the test process."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..backends.protocol import Address
from ..lifetime.layout import KUBECONFIG

_AUTHORITY = "certificate-authority-data"
_CERTIFICATE, _KEY = "client-certificate-data", "client-key-data"
# The name of everything in it, as `kubectl config get-contexts` lists them.
_NAME = "pytest-dind"
_VARIABLE = "KUBECONFIG"
# Where clients find another cluster, or another part of this one: client-go's in-cluster config,
# Helm's own (helm env), Terraform's providers, kubectx.
_LEAD_ELSEWHERE = re.compile(
    r"KUBERNETES_(SERVICE|PORT|MASTER).*|KUBE_(CONFIG_PATHS?|CTX.*|HOST|TOKEN|.*DATA)"
    r"|KUBECONTEXT|KUBENAMESPACE|KUBECTL_EXTERNAL_DIFF"
    r"|HELM_(KUBE.*|NAMESPACE)|K3S_.*"
)


@dataclass(frozen=True)
class Credentials:
    """The administrator's credentials, each in base64 of PEM.

    Attributes:
        authority: The cluster's authority.
        certificate: The administrator's certificate.
        key: Its key.
    """

    authority: str
    certificate: str
    # Not in a text that is logged.
    key: str

    def __repr__(self) -> str:
        return "Credentials()"


def read(text: str) -> Credentials | None:
    """The credentials in a kubeconfig, in JSON or in the YAML that k3s writes; None without."""
    found = {
        name: match[1]
        for name in (_AUTHORITY, _CERTIFICATE, _KEY)
        if (match := re.search(rf'"?{name}"?:\s*"?([A-Za-z0-9+/=]+)', text))
    }
    if len(found) < 3:
        return None
    return Credentials(found[_AUTHORITY], found[_CERTIFICATE], found[_KEY])


def config(credentials: Credentials, address: Address) -> dict[str, Any]:
    """A kubeconfig for these credentials, as a dict.

    Args:
        credentials: The credentials.
        address: Where the API is reached.
    """
    cluster = {
        "server": f"https://{address.host}:{address.port}",
        _AUTHORITY: credentials.authority,
    }
    user = {_CERTIFICATE: credentials.certificate, _KEY: credentials.key}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": _NAME,
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME}}],
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "users": [{"name": _NAME, "user": user}],
    }


def write(directory: Path, found: Mapping[str, Any]) -> Path:
    """Write a kubeconfig for this user alone; gives its path. JSON is YAML, too."""
    path = directory / KUBECONFIG
    private(path, json.dumps(found, indent=1).encode())
    return path


def private(path: Path, content: bytes) -> None:
    """Write a file for this user alone, whole or not at all: others may read it just now."""
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    aside.replace(path)


def pem(data: str) -> bytes:
    """PEM, of what a kubeconfig has."""
    return base64.b64decode(data)


def environment(inherited: Mapping[str, str], path: Path) -> dict[str, str]:
    """An environment in which tools find the cluster of a kubeconfig, and no other one."""
    found = {k: v for k, v in inherited.items() if not _LEAD_ELSEWHERE.fullmatch(k)}
    return found | {_VARIABLE: str(path)}
