"""Kubernetes clusters of one node and of three."""

from __future__ import annotations

import contextlib
from functools import partial

from ..case import Bench, Case, CaseSkipped, Sample
from ..goals import AtMost
from ..processes import suite

NODE_IMAGE = "pytest-dind/kubernetes:test"
_MAKE = "python tools/kubernetes.py"
_PUBLISHED = "kind's users report 12 to 17 s for one node, k3d's 15 to 20 s."


def _sample(bench: Bench, nodes: int) -> Sample:
    import docker
    from docker.errors import ImageNotFound

    with contextlib.closing(docker.from_env()) as client:
        try:
            client.images.get(NODE_IMAGE)
        except ImageNotFound:
            raise CaseSkipped(f"there is no image {NODE_IMAGE}: {_MAKE} makes it") from None
    return suite(
        bench,
        "test_kubernetes.py",
        "--dind-mode=dind",
        f"--dind-image={bench.image}",
        f"--dind-nodes={nodes}",
        f"--dind-kubernetes-image={NODE_IMAGE}",
    )


def _case(name: str, nodes: int, seconds: float) -> Case:
    many = "node" if nodes == 1 else "nodes"
    return Case(
        name=name,
        about=f"From the request for `dind_kubernetes`, {nodes} {many}, to its return: each node "
        "Ready, the default service account there, DNS answers, the scheduler serves. The nodes' "
        f"image comes by the warm store. {_PUBLISHED}",
        sample=partial(_sample, nodes=nodes),
        figures={"start": AtMost(seconds)},
    )


ONE = _case("kubernetes", 1, 3)
THREE = _case("kubernetes-three", 3, 4)
