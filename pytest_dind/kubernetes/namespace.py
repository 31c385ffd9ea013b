"""`Namespace`: a namespace of a cluster, for one test."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..backends.protocol import Address
from ..engine.polling import poll
from ..errors import KubernetesFailed
from . import readiness
from .api import Api, Refused

if TYPE_CHECKING:
    from .handle import Kubernetes

_PLACE = "/api/v1/namespaces"
_LABEL = "pytest-dind/namespace"
_POLL_SECONDS = 0.01
_READY_SECONDS = 30
# As long as a label's value may be, with what makes it unique.
_LONGEST = 40
_KUBECTL = "kubectl"


class Namespace(str):
    """A namespace of a cluster: its name, which is a text as any other, and what is in it.

    Attributes:
        kubernetes: The cluster.
    """

    kubernetes: Kubernetes

    def __new__(cls, name: str, kubernetes: Kubernetes) -> Namespace:
        """Make it of its name."""
        found = super().__new__(cls, name)
        found.kubernetes = kubernetes
        return found

    @property
    def name(self) -> str:
        """Its name."""
        return str(self)

    def exec(
        self, command: Sequence[str | os.PathLike[str]], **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """As `Kubernetes.exec`; a command of kubectl is about this namespace."""
        words = list(command)
        if words and words[0] == _KUBECTL:
            words.insert(1, f"--namespace={self}")
        return self.kubernetes.exec(words, **how)

    def wait_for(
        self,
        what: str | Mapping[str, Any],
        *,
        replicas: int | None = None,
        timeout: float = 60,
    ) -> None:
        """As `Kubernetes.wait_for`, in this namespace."""
        self.kubernetes.wait_for(what, namespace=self.name, replicas=replicas, timeout=timeout)

    def address(
        self,
        what: str | Mapping[str, Any],
        port: int | str,
        protocol: str = "tcp",
        *,
        wait: bool | float = True,
    ) -> Address:
        """As `Kubernetes.address`, in this namespace."""
        return self.kubernetes.address(what, port, protocol, namespace=self.name, wait=wait)

    def logs(self, pod: str, *, container: str = "", tail: int | None = None) -> str:
        """As `Kubernetes.logs`, in this namespace."""
        return self.kubernetes.logs(pod, namespace=self.name, container=container, tail=tail)


@dataclass
class Lifetime:
    """When a namespace of a test was there, as `time.time` has it.

    Attributes:
        name: Its name.
        made: When it was made.
        removed: When its removal began; None while it is there.
    """

    name: str
    made: float
    removed: float | None = None


def unique(wish: str) -> str:
    """The name of a namespace that there is not yet, as one wishes as far as it may be so."""
    plain = re.sub(r"[^a-z0-9]+", "-", wish.lower()).strip("-")[:_LONGEST].strip("-")
    return f"{plain or 'test'}-{uuid4().hex[:6]}"


def create(api: Api, name: str) -> None:
    """Create a namespace, and wait until pods can start in it.

    Raises:
        KubernetesFailed: the API refuses it, or it does not come to that.
    """
    metadata = {"name": name, "labels": {_LABEL: "true"}}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    try:
        api.call("POST", _PLACE, body)
    except Refused as error:
        raise KubernetesFailed(
            f"The namespace {name!r} can't be created.",
            evidence=f"The API says {error}.",
            remedy=["Look what the test has done to the cluster: its admission, its quotas."],
        ) from error
    why = ""

    def look() -> bool | None:
        nonlocal why
        why = readiness.without_account(api, name)
        return None if why else True

    if not poll(look, seconds=_READY_SECONDS, every=_POLL_SECONDS):
        raise KubernetesFailed(
            f"The namespace {name!r} can't be used after {_READY_SECONDS} s.",
            evidence=f"It lacks: {why}",
            remedy=["Look at the controller manager's log in the server: kubernetes.nodes[0]."],
        )


def remove(api: Api, name: str) -> None:
    """Have a namespace go with all that is in it; pods get no time to end in.

    The cluster does that by itself, and takes seconds.
    """
    for method, path, query in (
        ("DELETE", f"{_PLACE}/{name}/pods", {"gracePeriodSeconds": "0"}),
        ("DELETE", f"{_PLACE}/{name}", {}),
    ):
        try:
            api.call(method, path, query=query)
        except Refused as error:
            # The test may have removed it.
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise


def remove_left(api: Api) -> None:
    """Have the namespaces go that tests of other runs have left, as those that were killed."""
    for one in api.get(_PLACE, labelSelector=_LABEL)["items"]:
        remove(api, one["metadata"]["name"])
