"""A Kubernetes cluster: manifests applied in a namespace of each test, reached, and updated."""

import http.client
import subprocess
from pathlib import Path

import pytest

from pytest_dind import Address, Kubernetes, Namespace, WorkloadFailed

MANIFEST = Path(__file__).parent / "kubernetes" / "web.yaml"


@pytest.fixture
def web(dind_namespace: Namespace, image: str) -> Namespace:
    """A namespace of the test's own with a deployment of two pods, and a service."""
    text = MANIFEST.read_text().replace("IMAGE", image)
    dind_namespace.exec(["kubectl", "apply", "-f", "-"], stdin=text)
    dind_namespace.wait_for("deployment/web")
    return dind_namespace


def get(address: Address) -> str:
    """The page at the address, asked for without a proxy."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_a_service_answers(web: Namespace) -> None:
    """`address()` says where the test process reaches a service, of whatever type."""
    assert get(web.address("service/web", 80)) == "first\n"


def test_pods_find_the_service(web: Namespace) -> None:
    """In a pod a service has its name."""
    ask = ["kubectl", "exec", "deployment/web", "--", "wget", "-qO-", "http://web"]
    assert web.exec(ask).stdout == "first\n"


def test_a_rolling_update(web: Namespace) -> None:
    """`wait_for()` waits until the update is through, and no pod of before is left."""
    web.exec(["kubectl", "set", "env", "deployment/web", "PAGE=second"])
    web.wait_for("deployment/web")
    assert get(web.address("service/web", "http")) == "second\n"


def test_what_fails_says_why(web: Namespace) -> None:
    """A deployment that can't come to be ends the wait at once, with what its pods say."""
    web.exec(["kubectl", "set", "image", "deployment/web", "web=no-such.example/image:1"])
    with pytest.raises(
        WorkloadFailed, match=r"no-such\.example/image:1|ErrImagePull|ImagePullBackOff"
    ):
        web.wait_for("deployment/web")


def test_kubectl_of_this_machine(dind_kubernetes: Kubernetes) -> None:
    """`env` leads any tool of this machine to the cluster, and to no other one."""
    command = ["sh", "-c", "echo $KUBECONFIG"]
    found = subprocess.run(command, env=dind_kubernetes.env, capture_output=True, check=True)
    assert found.stdout.decode().strip() == str(dind_kubernetes.kubeconfig)
