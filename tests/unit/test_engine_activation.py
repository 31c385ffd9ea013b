"""The process's own environment: it leads to a daemon for a while, and is put back exactly."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dind.engine import activation
from pytest_dind.engine.activation import activated
from pytest_dind.engine.engine import Engine
from pytest_dind.engine.http import environment

_CONFIG = "testcontainers.core.config"


def _of(daemon: str) -> dict[str, str]:
    ours = {"TESTCONTAINERS_HOST_OVERRIDE": f"ports-of-{daemon}"}
    return environment(os.environ, f"unix:///{daemon}") | ours


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The process's environment, which chooses an engine; each test leaves it as it was."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///outer")
    monkeypatch.setenv("DOCKER_CONTEXT", "mine")
    monkeypatch.setenv("DOCKER_CONFIG", "/config")
    monkeypatch.delenv("TESTCONTAINERS_HOST_OVERRIDE", raising=False)
    # pytest's own, of the phase that a test is in.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    before = dict(os.environ)
    yield before
    os.environ.pop("PYTEST_CURRENT_TEST")
    assert dict(os.environ) == before


@pytest.fixture
def testcontainers(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The configuration of testcontainers, which it has read when it was imported."""
    config = SimpleNamespace(tc_host_override=None, _ryuk_docker_socket="/outer")
    module = SimpleNamespace(testcontainers_config=config)
    monkeypatch.setitem(sys.modules, _CONFIG, module)
    return config


def test_inside() -> None:
    """Inside, what chooses an engine leads to the daemon, and what configures tools stays."""
    with activated(_of("a")):
        assert os.environ["DOCKER_HOST"] == "unix:///a"
        assert "DOCKER_CONTEXT" not in os.environ
        assert os.environ["DOCKER_CONFIG"] == "/config"


def test_after_an_error() -> None:
    """An error in the context puts the environment back, too."""
    with pytest.raises(RuntimeError), activated(_of("a")):
        raise RuntimeError


def test_changed_inside() -> None:
    """What chooses an engine and was changed inside is put back; other changes are the test's."""
    with activated(_of("a")):
        os.environ["DOCKER_CONTEXT"] = "other"
        os.environ["DOCKER_TLS_VERIFY"] = "1"
        os.environ["OTHER"] = "kept"
    assert os.environ.pop("OTHER") == "kept"


def test_nested() -> None:
    """The innermost is in force, also of the same daemon again."""
    with activated(_of("a")):
        with activated(_of("b")), activated(_of("b")):
            assert os.environ["DOCKER_HOST"] == "unix:///b"
        assert os.environ["DOCKER_HOST"] == "unix:///a"


def test_ends_in_another_order() -> None:
    """An activation that ends before one within it leaves that in force."""
    outer, inner = ExitStack(), ExitStack()
    outer.enter_context(activated(_of("a")))
    inner.enter_context(activated(_of("b")))
    outer.close()

    assert os.environ["DOCKER_HOST"] == "unix:///b"
    inner.close()


def test_outside(surroundings: dict[str, str]) -> None:
    """Where the environment is needed as it is outside, it is at hand; so the engine is found."""
    with activated(_of("a")), activated(_of("b")):
        found = activation.outside()
        found.pop("PYTEST_CURRENT_TEST")
        assert found == surroundings
        assert Engine().url == "unix:///outer"


def test_testcontainers_is_imported(testcontainers: SimpleNamespace) -> None:
    """testcontainers, imported before, follows; what it was told is put back."""
    testcontainers.tc_host_override = "told"
    with activated(_of("a")):
        assert vars(testcontainers) == {
            "tc_host_override": "ports-of-a",
            "_ryuk_docker_socket": "",
        }
    assert vars(testcontainers) == {"tc_host_override": "told", "_ryuk_docker_socket": "/outer"}


@pytest.mark.parametrize("given", [None, "no-such-mode"])
def test_mode_of_testcontainers(
    monkeypatch: pytest.MonkeyPatch, testcontainers: SimpleNamespace, given: str | None
) -> None:
    """The way in which it looks for ports is told it, too, as it reads that itself."""
    name = "TESTCONTAINERS_CONNECTION_MODE"

    def read() -> str | None:
        found = os.environ.get(name)
        if found == "no-such-mode":
            raise ValueError(found)
        return found and f"<{found}>"

    sys.modules[_CONFIG].get_user_overwritten_connection_mode = read  # type: ignore[attr-defined]
    testcontainers.connection_mode_override = None
    with monkeypatch.context() as patched:
        if given:
            patched.setenv(name, given)
        with activated({**_of("a"), name: "docker_host"}):
            assert testcontainers.connection_mode_override == "<docker_host>"
    assert testcontainers.connection_mode_override is None


def test_testcontainers_is_imported_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """testcontainers, imported inside, is not led to the daemon any more after that."""
    monkeypatch.delitem(sys.modules, _CONFIG, raising=False)
    config = SimpleNamespace(tc_host_override="ports-of-a", _ryuk_docker_socket="/a")
    with activated(_of("a")):
        module = SimpleNamespace(testcontainers_config=config)
        monkeypatch.setitem(sys.modules, _CONFIG, module)

    assert vars(config) == {"tc_host_override": None, "_ryuk_docker_socket": ""}


def test_other_testcontainers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A testcontainers without these attributes gets none."""
    config = SimpleNamespace(other=1)
    module = SimpleNamespace(testcontainers_config=config)
    monkeypatch.setitem(sys.modules, _CONFIG, module)
    with activated(_of("a")):
        assert vars(config) == {"other": 1}


def test_variable_that_goes_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may remove a variable while this one reads them, as pytest does."""

    class _Environment(dict[str, str]):
        def __iter__(self) -> Iterator[str]:
            return iter(["GONE", *super().keys()])

        def keys(self) -> Any:
            return list(self)

    present = dict(os.environ)
    with monkeypatch.context() as patched:
        patched.setattr(os, "environ", _Environment(present))
        with pytest.raises(KeyError):
            dict(os.environ)
        assert activation.outside() == present
