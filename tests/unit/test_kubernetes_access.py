"""The kubeconfig of a cluster, and an environment that leads to no other one."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from pytest_dind import Address
from pytest_dind.kubernetes import access
from pytest_dind.kubernetes.access import Credentials

_FOUND = Credentials("QUJD", "REVG", "R0hJ")
_YAML = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: QUJD
    server: https://127.0.0.1:6443
  name: default
users:
- name: default
  user:
    client-certificate-data: REVG
    client-key-data: R0hJ
"""


def test_both_notations() -> None:
    """Credentials are read in the YAML that k3s writes, and in JSON."""
    address = Address("10.0.0.1", 40000)
    assert access.read(_YAML) == _FOUND
    assert access.read(json.dumps(access.config(_FOUND, address))) == _FOUND


@pytest.mark.parametrize("text", ["", _YAML.rpartition("client-key-data")[0]])
def test_not_there(text: str) -> None:
    """As long as one of them is missing, there are none."""
    assert access.read(text) is None


def test_config(tmp_path: Path) -> None:
    """The kubeconfig leads to the address, and only this user may read it."""
    path = access.write(tmp_path, access.config(_FOUND, Address("10.0.0.1", 40000)))
    found = json.loads(path.read_text())
    assert found["clusters"][0]["cluster"]["server"] == "https://10.0.0.1:40000"
    context = found["contexts"][0]
    assert context["name"] == found["current-context"]
    assert context["context"]["cluster"] == found["clusters"][0]["name"]
    assert context["context"]["user"] == found["users"][0]["name"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_key_is_not_shown() -> None:
    """The key of the administrator is in no text."""
    assert "R0hJ" not in repr(_FOUND)
    assert access.pem(_FOUND.key) == base64.b64decode("R0hJ")


def test_environment() -> None:
    """What leads to another cluster is taken out; all else stays."""
    inherited = {
        "KUBECONFIG": "/home/me/.kube/config",
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_PORT_443_TCP": "tcp://10.96.0.1:443",
        "HELM_KUBECONTEXT": "production",
        "HELM_NAMESPACE": "shop",
        "KUBE_CONFIG_PATH": "/elsewhere",
        "HELM_CACHE_HOME": "/cache",
        "KUBE_EDITOR": "vi",
        "HOME": "/home/me",
    }
    assert access.environment(inherited, Path("/run/kubeconfig")) == {
        "KUBECONFIG": "/run/kubeconfig",
        "HELM_CACHE_HOME": "/cache",
        "KUBE_EDITOR": "vi",
        "HOME": "/home/me",
    }
