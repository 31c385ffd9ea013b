"""Certificates of authorities that a daemon trusts besides those of its image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..validation import authorities as read_authorities
from ..validation import certificate

# dockerd and its BuildKit read each `*.crt` of a registry's directory.
_OF_REGISTRIES = "etc/docker/certs.d"
_NAME = "pytest-dind"
_FOR_ALL = f"etc/{_NAME}/certificates"
_VARIABLE = "SSL_CERT_DIR"
# Where Go looks by itself (crypto/x509, root_linux.go); the variable takes the place of these, and
# not of the files in which distributions have all of their certificates.
_DIRECTORIES = "/etc/ssl/certs:/etc/pki/tls/certs"


def variables(authorities: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """The environment in which dockerd trusts those that are not for one registry alone.

    Args:
        authorities: The setting `ca`.
        given: The environment that it has otherwise.
    """
    if not any(not host for host, _ in read_authorities(authorities)):
        return {}
    return {_VARIABLE: f"{given.get(_VARIABLE) or _DIRECTORIES}:/{_FOR_ALL}"}


def files(authorities: Iterable[str]) -> dict[str, bytes]:
    """The contents of their files, by their paths below the container's root.

    Raises:
        SettingsError: a file can't be read, or is no certificate.
    """
    found: dict[str, bytes] = {}
    for host, path in read_authorities(authorities):
        content = certificate(path)
        directory = f"{_OF_REGISTRIES}/{host}" if host else _FOR_ALL
        found[f"{directory}/{_NAME}-{len(found)}.crt"] = content
    return found
