"""The image of Kubernetes nodes: what tools/kubernetes/Dockerfile says, without a registry."""

from __future__ import annotations

import shutil
from pathlib import Path

import _images
import _inputs
import _roots
import docker
import docker.errors
import requests
from _connection import reason
from _console import Problem, say, step

NODE = "pytest-dind/kubernetes:test"
PACKAGES = "pytest-dind/kubernetes-packages:test"
SOURCE = Path(__file__).with_name("kubernetes")
# The key of what an image is made of.
INPUTS = "pytest-dind.inputs"
# It needs containerd 2, which stable may lack.
SUITES = ("sid", "testing")
# Plugins for pods' networks that are not the node's, and examples that come with runc.
OTHER_NETWORKS = (
    "bandwidth bridge cni-bridge-fp dhcp dummy firewall host-device ipvlan macvlan sbr static tap "
    "tuning vlan vrf"
)
EXAMPLES = "fs-idmap pidfd-kill recvtty remap-rootfs sd-helper seccompagent"
UNNEEDED = (
    *_roots.NEVER_NEEDED,
    "./usr/bin/containerd-stress",
    *(f"./usr/lib/cni/{name}" for name in OTHER_NETWORKS.split()),
    *(f"./usr/sbin/{name}" for name in EXAMPLES.split()),
    "./var/lib/apt",
    "./var/lib/dpkg/info",
)


def is_made_of(client: docker.DockerClient, name: str, key: str) -> bool:
    """Tell whether the engine has an image that was made of these inputs."""
    try:
        labels = client.images.get(name).labels
    except docker.errors.ImageNotFound:
        return False
    return labels.get(INPUTS) == key


def ensure_packages(client: docker.DockerClient) -> None:
    """Make sure of the image with the packages alone, which seldom changes.

    Raises:
        Problem: it is missing, and can't be made here.
    """
    key = _inputs.key(SOURCE / "packages", *SUITES, *UNNEEDED)
    if is_made_of(client, PACKAGES, key):
        say(f"{PACKAGES}: there")
    elif not (_images.registry_answers(client) and build_packages(client, key)):
        with _roots.scratch_directory() as scratch:
            bootstrap(client, key, scratch)


def build_packages(client: docker.DockerClient, key: str) -> bool:
    """Have the engine build them upon Debian's image; False, and said, if that fails."""
    try:
        build(client, SOURCE, SOURCE / "Dockerfile", PACKAGES, key, target="packages")
    except Problem as problem:
        say(f"from Debian's packages alone, then:\n{problem}")
        return False
    return True


def bootstrap(client: docker.DockerClient, key: str, scratch: Path) -> None:
    """Make them of Debian's packages alone."""
    _roots.require_debootstrap("node", "run this as root, or give this engine a way to a registry")
    packages = (SOURCE / "packages").read_text().split()
    archive = _roots.packed(scratch, "node", SUITES, lambda _suite: packages, UNNEEDED)
    _images.import_archive(client, archive, PACKAGES, [f"LABEL {INPUTS}={key}"])


def assemble(client: docker.DockerClient, binary: Path, key: str) -> None:
    """Make the node image of the packages, the binary, and the last stage of the Dockerfile."""
    with _roots.scratch_directory() as context:
        shutil.copytree(SOURCE / "root", context / "root")
        # Both on one disk where that can be: the binary is large.
        shutil.copy2(binary, context / "kubernetes")
        file = context / "Dockerfile"
        file.write_text(dockerfile((SOURCE / "Dockerfile").read_text()))
        build(client, context, file, NODE, key)


def dockerfile(text: str) -> str:
    """Put what is here in the place of the stages that take a registry."""
    last = text[text.rindex("\nFROM ") + 1 :]
    return f"FROM {PACKAGES} AS packages\n\nFROM scratch AS binary\nCOPY kubernetes /\n\n{last}"


def build(
    client: docker.DockerClient,
    context: Path,
    file: Path,
    name: str,
    key: str,
    target: str | None = None,
) -> None:
    """Have the engine build an image.

    Raises:
        Problem: it says why it does not.
    """
    said: list[str] = []
    try:
        with step(f"building {name}") as shown:
            for event in client.api.build(
                path=str(context),
                dockerfile=str(file),
                tag=name,
                labels={INPUTS: key},
                target=target,
                rm=True,
                forcerm=True,
                decode=True,
            ):
                if "error" in event:
                    raise docker.errors.APIError(event["error"])
                shown.detail = str(event.get("stream") or event.get("status") or "").strip()
                said += [shown.detail] if shown.detail else []
    except (docker.errors.DockerException, requests.RequestException) as error:
        evidence = "\n".join([*said[-5:], reason(error)])
        remedy = "look into the engine's log, and whether its disk is full"
        raise Problem(f"{name} can't be built", evidence, remedy) from error
