"""The user's credentials: where they come from, and which win."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.engine import credentials, http
from pytest_dind.engine.engine import Engine

from ..support import FakeEngine

_HELPER = """#!/bin/sh
case $1 in
list) echo '{"listed.example": "who"}' ;;
get)
    read -r registry
    [ "$registry" != tokens.example ] || { echo '{"Username": "<token>", "Secret": "t"}'; exit; }
    echo "{\\"Username\\": \\"helped\\", \\"Secret\\": \\"$registry\\"}"
    ;;
esac
"""


def _auth(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a docker config of the test's own; a helper `docker-credential-mine` is there."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv(credentials.VARIABLE, raising=False)
    helper = tmp_path / "bin" / "docker-credential-mine"
    helper.parent.mkdir()
    helper.write_text(_HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(helper.parent), prepend=":")

    def write(content: dict[str, Any]) -> None:
        (tmp_path / "config.json").write_text(json.dumps(content))

    return write


def _lent() -> dict[str, Any]:
    text = credentials.as_config()
    found: dict[str, Any] = json.loads(text)["auths"] if text else {}
    return found


@pytest.mark.parametrize("content", [None, {}, {"auths": {}}, {"auths": {"a.example": {}}}])
def test_none(config: Any, content: dict[str, Any] | None) -> None:
    """Without credentials nothing is lent."""
    if content is not None:
        config(content)
    assert credentials.as_config() == ""


def test_of_the_config(config: Any) -> None:
    """Passwords and identity tokens of the docker config are lent as they are there."""
    auths = {"a.example:5000": _auth("me", "pässword:x"), "b.example": {"identitytoken": "t"}}
    config({"auths": auths, "credsStore": "", "proxies": {"default": {}}})

    assert _lent() == auths


def test_of_helpers(config: Any) -> None:
    """Helpers are asked for the registries they are named for, and for those that they list."""
    config(
        {"credsStore": "mine", "credHelpers": {"h.example": "mine", "tokens.example": "mine"}},
    )

    assert _lent() == {
        "listed.example": _auth("helped", "listed.example"),
        "h.example": _auth("helped", "h.example"),
        "tokens.example": {"identitytoken": "t"},
    }


def test_secrets(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no report may show: passwords, tokens, both as a config has them; no user's name."""
    of_file, of_environment = _auth("somebody", "pass"), _auth("env", "word")
    config({"auths": {"a.example": of_file, "b.example": {"identitytoken": "t"}}})
    monkeypatch.setenv(credentials.VARIABLE, json.dumps({"auths": {"c.example": of_environment}}))

    expected = {"pass", "word", "t", of_file["auth"], of_environment["auth"]}
    assert {*credentials.secrets()} == expected


def test_helper_that_fails(config: Any) -> None:
    """A helper that is not there has no credentials; those of others are lent."""
    auths = {"a.example": _auth("me", "x")}
    config({"auths": auths, "credsStore": "no-such", "credHelpers": {"h.example": "no-such"}})

    assert _lent() == auths


def test_environment_wins(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """DOCKER_AUTH_CONFIG wins over the config and helpers, as with the docker CLI."""
    config({"auths": {"a.example": _auth("me", "x")}, "credHelpers": {"h.example": "mine"}})
    given = {"a.example": _auth("env", "y"), "h.example": _auth("env", "z")}
    monkeypatch.setenv(credentials.VARIABLE, json.dumps({"auths": given}))

    assert _lent() == given
    assert credentials.Credentials().resolve_authconfig("h.example")["password"] == "z"


@pytest.mark.parametrize("value", ["", "nonsense", "[]", '{"auths": 3}', '{"auths": {"a": 1}}'])
def test_environment_that_is_none(config: Any, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DOCKER_AUTH_CONFIG that nobody can read leaves what else there is."""
    auths = {"a.example": _auth("me", "x")}
    config({"auths": auths})
    monkeypatch.setenv(credentials.VARIABLE, value)

    assert _lent() == auths


def test_clients(config: Any, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients on daemons and on the outer engine have them, those of the environment too."""
    config({})
    given = {"auths": {"a.example": _auth("env", "y")}}
    monkeypatch.setenv(credentials.VARIABLE, json.dumps(given))
    with FakeEngine(short_path / "s", {}) as fake:
        engine = Engine(fake.host)
        client = http.client(fake.host, version="1.44")
        found = [
            one.api._auth_configs.resolve_authconfig("a.example")["username"]  # type: ignore[attr-defined]
            for one in (engine.client, client)
        ]
        engine.close()
        client.close()

    assert found == ["env", "env"]
