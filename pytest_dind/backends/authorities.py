"""Certificates of authorities that a daemon trusts besides those of its image."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping

from .. import validation

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
    if not any(not host for host, _ in validation.authorities(authorities)):
        return {}
    return {_VARIABLE: f"{given.get(_VARIABLE) or _DIRECTORIES}:/{_FOR_ALL}"}


def archive(authorities: Iterable[str]) -> bytes:
    """An archive of their files for the container's root; empty without any.

    Raises:
        SettingsError: a file can't be read, or is no certificate.
    """
    files: dict[str, bytes] = {}
    for host, path in validation.authorities(authorities):
        content = validation.certificate(path)
        directory = f"{_OF_REGISTRIES}/{host}" if host else _FOR_ALL
        files[f"{directory}/{_NAME}-{len(files)}.crt"] = content
    if not files:
        return b""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        # Without directories: the engine makes those that the image lacks.
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
