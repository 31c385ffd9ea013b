"""This process's own environment, made to lead to a daemon and put back."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from .http import CHOOSE_AN_ENGINE

# testcontainers reads the environment once, when it is imported. In its configuration these tell
# where published ports are reached, whether they are at all, and which socket its own helper gets.
_TESTCONTAINERS = "testcontainers.core.config"
_HOST, _MODE, _SOCKET = "tc_host_override", "connection_mode_override", "_ryuk_docker_socket"
_READ_MODE = "get_user_overwritten_connection_mode"

_lock = threading.Lock()
# What each activation found and will put back, the innermost last.
_found: list[_Before] = []


class _Before:
    """The values before an activation, of all that it changes: None where there was none."""

    def __init__(self, wanted: Mapping[str, str]) -> None:
        names = CHOOSE_AN_ENGINE | {
            name for name, value in wanted.items() if os.environ.get(name) != value
        }
        names |= os.environ.keys() - wanted.keys()
        self.environment = {name: os.environ.get(name) for name in names}
        self.tools = _read_tools()

    def restore(self) -> None:
        for name, value in self.environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        # Imported meanwhile, it has read the environment of the daemon.
        _write_tools(self.tools or _as_imported())

    def inherit(self, older: _Before) -> None:
        """Take over what an activation that began earlier, and ends earlier, would put back."""
        self.environment |= older.environment
        self.tools |= older.tools


@contextmanager
def activated(wanted: Mapping[str, str]) -> Iterator[None]:
    """Make an environment this process's own in this context, and put back what was there.

    Contexts may be nested, also of several daemons: the innermost is in force. It is for the whole
    process, with all its threads.

    Args:
        wanted: The environment, made of the present one.
    """
    with _lock:
        before = _Before(wanted)
        _found.append(before)
        for name in before.environment:
            if name in wanted:
                os.environ[name] = wanted[name]
            else:
                os.environ.pop(name, None)
        _write_tools(_as_imported())
    try:
        yield
    finally:
        with _lock:
            index = _found.index(before)
            del _found[index]
            if index < len(_found):
                # A fixture may end before one that was set up within it.
                _found[index].inherit(before)
            else:
                before.restore()


def present() -> dict[str, str]:
    """This process's environment as it is now, for any thread.

    A copy by `dict` fails with a KeyError when another thread removes a variable meanwhile, as
    pytest does with PYTEST_CURRENT_TEST between two phases of a test.
    """
    found = ((name, os.environ.get(name)) for name in list(os.environ))
    return {name: value for name, value in found if value is not None}


def outside() -> dict[str, str]:
    """This process's environment without what activations have changed; it has the outer engine."""
    with _lock:
        found: dict[str, str | None] = {**present()}
        for before in reversed(_found):
            found |= before.environment
    return {name: value for name, value in found.items() if value is not None}


def _as_imported() -> dict[str, Any]:
    """What testcontainers would read if it were imported now; an empty socket is looked for."""
    of = os.environ.get
    found = {_HOST: of("TC_HOST", of("TESTCONTAINERS_HOST_OVERRIDE")), _SOCKET: ""}
    read = getattr(sys.modules.get(_TESTCONTAINERS), _READ_MODE, None)
    # A ValueError: a mode of the user's that there is none of.
    with suppress(ValueError):
        found[_MODE] = read() if read else None
    return found


def _tools() -> Any:
    """The configuration of testcontainers; None where it is not imported, or another version's."""
    module = sys.modules.get(_TESTCONTAINERS)
    return getattr(module, "testcontainers_config", None)


def _read_tools() -> dict[str, Any]:
    tools = _tools()
    known = (_HOST, _MODE, _SOCKET)
    return {name: getattr(tools, name) for name in known if hasattr(tools, name)}


def _write_tools(values: Mapping[str, Any]) -> None:
    tools = _tools()
    for name, value in values.items():
        if hasattr(tools, name):
            setattr(tools, name, value)
