"""When a cluster is ready: each node is, pods get an account, DNS answers, and pods get a node."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from .api import Api, Refused

NODES = "/api/v1/nodes"
_ACCOUNT = "/api/v1/namespaces/{namespace}/serviceaccounts/default"
_AUTHORITY = "/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt"
_SYSTEM = "kube-system"
_ENDPOINTS = f"/apis/discovery.k8s.io/v1/namespaces/{_SYSTEM}/endpointslices"
_OF_DNS = "kubernetes.io/service-name=kube-dns"
_PODS = f"/api/v1/namespaces/{_SYSTEM}/pods"
_PROBE = "pytest-dind-probe"
_KEEP_OFF = ("NoSchedule", "NoExecute")
# What the scheduler says of a pod that no node takes: how many it knows. Its own words.
_KNOWN = re.compile(r"0/(\d+) nodes are available")
# As old as the API has it at hand: asked again and again, it need not ask its store.
_AT_HAND = {"resourceVersion": "0"}


class Readiness:
    """What a cluster lacks to be ready.

    Args:
        api: Its API.
        nodes: The names of the nodes that are waited for.
    """

    def __init__(self, api: Api, nodes: Iterable[str]) -> None:
        self._api = api
        self._nodes = set(nodes)
        self._left: list[Callable[[], str]] = [
            self._without_node,
            self._without_account,
            self._without_dns,
            self._without_scheduler,
        ]

    def lacks(self) -> str:
        """What is missing now, in the order in which it comes about; empty where nothing is.

        What was there once is not asked for again, and what comes later not yet: the cluster has
        better things to do than to answer.

        Raises:
            requests.exceptions.RequestException: the API does not answer.
        """
        while self._left:
            try:
                why = self._left[0]()
            except Refused as error:
                why = f"the API says {error}"
            if why:
                return why
            del self._left[0]
        return ""

    def _without_node(self) -> str:
        return without_node(self._api.get(NODES, **_AT_HAND)["items"], self._nodes)

    def _without_account(self) -> str:
        return without_account(self._api, "default")

    def _without_dns(self) -> str:
        slices = self._api.get(_ENDPOINTS, labelSelector=_OF_DNS, **_AT_HAND)["items"]
        ready = any(
            (endpoint.get("conditions") or {}).get("ready")
            for one in slices
            for endpoint in one.get("endpoints") or []
        )
        return "" if ready else "DNS does not answer: the Service kube-dns has no ready endpoint"

    def _without_scheduler(self) -> str:
        """Ask the scheduler for a place for a pod that no node takes: it says which it knows."""
        found = self._api.find(f"{_PODS}/{_PROBE}")
        if found is None:
            try:
                self._api.call("POST", _PODS, _probe())
            except Refused as error:
                # Without the account that pods of the namespace have.
                if error.status != HTTPStatus.FORBIDDEN:
                    raise
            return "the scheduler was not asked yet"
        why = unknown_to_scheduler(found, len(self._nodes))
        if not why:
            self._api.call("DELETE", f"{_PODS}/{_PROBE}", query={"gracePeriodSeconds": "0"})
        return why


def without_node(items: Iterable[Mapping[str, Any]], wanted: Iterable[str]) -> str:
    """Why not each of these nodes is Ready and takes pods; empty where each is.

    Args:
        items: The nodes, as the API lists them.
        wanted: The names of the nodes.
    """
    there = {item["metadata"]["name"]: item for item in items}
    for name in sorted(wanted):
        node = there.get(name)
        if node is None:
            return f"the node {name} has not registered"
        conditions = (node.get("status") or {}).get("conditions") or []
        ready = next((one for one in conditions if one["type"] == "Ready"), None)
        if ready is None or ready["status"] != "True":
            why = ready.get("message") if ready else "it has not said so"
            return f"the node {name} is not Ready: {why}"
        for taint in node["spec"].get("taints") or []:
            if taint["effect"] in _KEEP_OFF:
                return f"the node {name} takes no pods: {taint['key']}"
    return ""


def without_account(api: Api, namespace: str) -> str:
    """Why pods of a namespace can't start yet; empty where they can."""
    if api.find(_ACCOUNT.format(namespace=namespace)) is None:
        return f"the namespace {namespace} has no default service account"
    # Every pod mounts it: kubelet would try again a second later.
    if api.find(_AUTHORITY.format(namespace=namespace)) is None:
        return f"the namespace {namespace} has no config map kube-root-ca.crt"
    return ""


def unknown_to_scheduler(pod: Mapping[str, Any], nodes: int) -> str:
    """Why the scheduler does not know so many nodes; empty where it does.

    Args:
        pod: A pod that no node takes.
        nodes: How many there are.
    """
    conditions = (pod.get("status") or {}).get("conditions") or []
    said = next((one for one in conditions if one["type"] == "PodScheduled"), None)
    if said is None:
        return "the scheduler has not looked at a pod"
    match = _KNOWN.search(said.get("message") or "")
    if match and int(match[1]) < nodes:
        return f"the scheduler knows {match[1]} of {nodes} nodes"
    return ""


def _probe() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _PROBE, "namespace": _SYSTEM},
        "spec": {
            "nodeSelector": {"pytest-dind/none": "none"},
            "automountServiceAccountToken": False,
            "containers": [{"name": "none", "image": "none"}],
        },
    }
