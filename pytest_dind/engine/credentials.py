"""The user's credentials for registries: those of the docker config and of `DOCKER_AUTH_CONFIG`.

`docker` is imported at the top here, for a class of its own to build on: this module is imported
inside functions, by those who make a docker client.
"""

# ruff: noqa: TID253

from __future__ import annotations

import base64
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from docker import auth
from docker.credentials.constants import PROGRAM_PREFIX
from docker.credentials.errors import StoreError
from docker.errors import DockerException

if TYPE_CHECKING:
    import docker

_SECRET = ("password", "identitytoken", "registrytoken", "auth")
VARIABLE = "DOCKER_AUTH_CONFIG"
"""Credentials as the docker CLI takes them: JSON such as `{"auths": {"host": {"auth": "…"}}}`."""


_AuthConfig: Any = auth.AuthConfig


class Credentials(_AuthConfig):  # type: ignore[misc]
    """The user's credentials, as a docker-py client has them.

    Those of the environment win, as with the docker CLI; docker-py itself does not know them.
    """

    def __init__(self) -> None:
        super().__init__(dict(auth.load_config()))
        self._given = _of_environment()
        self["auths"] = {**self.auths, **self._given}

    def get_credential_store(self, registry: str | None) -> str | None:
        """The name of the helper that has the credentials for a registry, if one has."""
        wanted = auth.resolve_index_name(registry or auth.INDEX_NAME)
        if any(auth.resolve_index_name(name) == wanted for name in self._given):
            return None
        found: str | None = super().get_credential_store(registry)
        return found

    def get_all_credentials(self) -> dict[str, dict[str, Any]]:
        """The credentials for all registries, also those that helpers have.

        A helper that fails has none: what is to be done may not need them.
        """
        stores = dict.fromkeys(self._listed(), self.creds_store) | self.cred_helpers
        found = dict(self.auths)
        for registry, store in stores.items():
            if registry not in self._given:
                entry = self._of_helper(registry, store)
                found |= {registry: entry, auth.convert_to_hostname(registry): entry}
        return {registry: entry for registry, entry in found.items() if entry}

    def _listed(self) -> list[str]:
        """The registries that the config's general helper knows."""
        if not _is_installed(self.creds_store):
            return []
        try:
            return list(self._get_store_instance(self.creds_store).list())
        except (StoreError, ValueError):
            return []

    def _of_helper(self, registry: str, store: str) -> dict[str, Any] | None:
        if not _is_installed(store):
            return None
        try:
            found: dict[str, Any] | None = self._resolve_authconfig_credstore(registry, store)
        except (DockerException, ValueError):
            return None
        return found


def _is_installed(store: str | None) -> bool:
    """Whether there is a helper of this name; docker-py would warn of one that is missing."""
    return bool(store) and shutil.which(f"{PROGRAM_PREFIX}{store}") is not None


def equip(client: docker.DockerClient) -> docker.DockerClient:
    """Give a client the user's credentials; returns the client."""
    api: Any = client.api
    api._auth_configs = Credentials()
    return client


def as_config() -> str:
    """The user's credentials for all registries as JSON, as a docker config has them.

    Helpers are asked for theirs; empty without any.
    """
    auths = {name: _entry(found) for name, found in Credentials().get_all_credentials().items()}
    return json.dumps({"auths": auths}) if auths else ""


def secrets() -> list[str]:
    """What of the user's credentials no report may show; helpers are not asked for theirs."""
    entries = [entry for entry in Credentials().auths.values() if isinstance(entry, dict)]
    named = [(key.lower(), value) for entry in entries for key, value in entry.items()]
    found = [str(value) for key, value in named if key in _SECRET and value]
    for entry in entries:
        if entry.get("username") and entry.get("password"):
            found.append(_entry(entry)["auth"])
    return found


def _entry(found: dict[str, Any]) -> dict[str, str]:
    """An entry of a docker config, of one that docker-py has read there or got from a helper."""
    of = {name.lower(): value for name, value in found.items()}
    if "identitytoken" in of:
        return {"identitytoken": of["identitytoken"]}
    return {"auth": base64.b64encode(f"{of['username']}:{of['password']}".encode()).decode()}


def _of_environment() -> dict[str, dict[str, Any]]:
    """Those of the environment; what the docker CLI could not read there is passed over."""
    try:
        given = json.loads(os.environ.get(VARIABLE) or "{}")
        return dict(auth.parse_auth(given.get("auths") or {}))
    except (ValueError, AttributeError, TypeError):
        return {}
