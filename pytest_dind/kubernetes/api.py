"""The client of a cluster's API: HTTP by `requests`, JSON, and the certificate of a kubeconfig."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends.protocol import Address
from ..errors import DindError
from . import access
from .access import Credentials

if TYPE_CHECKING:
    from requests import Response

_AUTHORITY, _CERTIFICATE, _KEY = "ca.pem", "client.pem", "client-key.pem"
_CONNECT_SECONDS = 2
_ANSWER_SECONDS = 30


class Refused(Exception):
    """The API has refused something.

    Attributes:
        status: The HTTP status.
        reason: Why, as the API says.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status
        self.reason = reason


class Api:
    """A cluster's API; may be used by several threads.

    Args:
        address: Where it is reached.
        credentials: The administrator's.
        directory: Where certificates go: `requests` takes them as files.
        explain: Gives the error for a call that got no answer, where the cause is known.
    """

    def __init__(
        self,
        address: Address,
        credentials: Credentials,
        directory: Path,
        explain: Callable[[], DindError | None] = lambda: None,
    ) -> None:
        import requests

        files = {
            _AUTHORITY: credentials.authority,
            _CERTIFICATE: credentials.certificate,
            _KEY: credentials.key,
        }
        for name, data in files.items():
            access.private(directory / name, access.pem(data))
        self._url = f"https://{address.host}:{address.port}"
        self._explain = explain
        self._session = requests.Session()
        # No proxy, and no other authorities.
        self._session.trust_env = False
        self._session.verify = str(directory / _AUTHORITY)
        self._session.cert = (str(directory / _CERTIFICATE), str(directory / _KEY))

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Read an object, or a list of them.

        Raises:
            Refused: the API refuses it.
            requests.exceptions.RequestException: there was no answer, and it is not known why.
            DindError: there was none, and it is known why.
        """
        return self.call("GET", path, query=query)

    def find(self, path: str, **query: str) -> dict[str, Any] | None:
        """As `get`; None for what is not there."""
        try:
            return self.get(path, **query)
        except Refused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    def text(self, path: str, **query: str) -> str:
        """As `get`, of what is no JSON."""
        return self._answer("GET", path, query).text

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Call it; gives the object that it answers with. Raises what `get` does."""
        found: dict[str, Any] = self._answer(method, path, query, body).json()
        return found

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None = None,
    ) -> Response:
        from requests.exceptions import RequestException

        try:
            answer = self._session.request(
                method,
                self._url + path,
                params=dict(query or {}),
                json=body,
                timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
            )
        except RequestException as error:
            known = self._explain()
            if known is None:
                raise
            raise known from error
        if answer.status_code >= HTTPStatus.BAD_REQUEST:
            raise Refused(answer.status_code, _reason(answer))
        return answer

    def close(self) -> None:
        """Close its connections."""
        self._session.close()


def _reason(answer: Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()
