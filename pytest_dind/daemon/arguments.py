"""The arguments of what a test calls on a daemon or a cluster: what each may be, in one table."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..validation import MOST_NODES, MOST_SECONDS, is_image, is_nodes, is_seconds, is_text, shown

# As Kubernetes has it (RFC 1123, subdomain).
_OBJECT_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@dataclass(frozen=True)
class Kind:
    """What an argument may be.

    Attributes:
        valid: The same in words, as they follow "Give NAME".
        allows: Whether a value is of the kind.
        note: What else there is to know, for the evidence.
    """

    valid: str
    allows: Callable[[Any], bool]
    note: str = ""


def name_or_id(value: object) -> str | None:
    """The name or the id of what is given as a nested container, or a service; None for neither."""
    name = value if isinstance(value, str) else getattr(value, "id", None)
    return name if is_text(name) else None


def is_object(value: object) -> bool:
    """Whether a value can be the name of an object of Kubernetes."""
    return isinstance(value, str) and _OBJECT_NAME.fullmatch(value) is not None


def _is_path(value: object) -> bool:
    """Whether a value is the path of a file, in which what is no UTF-8 has its stand-ins."""
    try:
        text = os.fspath(value)  # type: ignore[call-overload]
        # A RuntimeError: `~user` of a user that there isn't.
        return bool(text) and "\0" not in text and bool(os.fsencode(Path(text).expanduser()))
    except (TypeError, ValueError, RuntimeError):
        return False


def _is_path_there(value: object) -> bool:
    """Whether a value is a path in the daemon's container, which gets it as text."""
    return _is_path(value) and is_text(os.fspath(value))  # type: ignore[call-overload]


def _is_words(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(map(is_text, value))


def _is_texts(value: object) -> bool:
    """Whether a value is a dict of texts, as build arguments are; None is the builder's own."""
    return isinstance(value, Mapping) and all(
        is_text(name) and name and (one is None or is_text(one)) for name, one in value.items()
    )


def _is_variables(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        is_text(name) and name and "=" not in name and is_text(one) for name, one in value.items()
    )


def _is_limits(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        is_text(name) and (is_text(one) or _is_whole(one, -1, sys.maxsize))
        for name, one in value.items()
    )


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_pattern(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, re.Pattern) and isinstance(value.pattern, str)
    )


def _is_port(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or is_text(value)


def _is_input(value: object) -> bool:
    # A NUL is as good as any in what a command reads.
    return isinstance(value, bytes) or (isinstance(value, str) and is_text(value.replace("\0", "")))


def _or_none(kind: Kind) -> Kind:
    return Kind(kind.valid, lambda value: value is None or kind.allows(value), kind.note)


_RANGE = f"Seconds are from 0 to {MOST_SECONDS}."
_UTF8 = "A text is what UTF-8 has, without NUL."
_SWITCH = Kind("True or False", lambda value: isinstance(value, bool))
_TEXT = Kind("a text", is_text, _UTF8)
_PATH = Kind("a path", _is_path)
_PATH_THERE = Kind("a path", _is_path_there, _UTF8)
_SECONDS = Kind("a number of seconds", is_seconds, _RANGE)
_CONTAINER = Kind(
    "the container that was run with detach=True, its name or its id",
    lambda value: bool(name_or_id(value)),
)
_SERVICE = Kind("a service, its name or its id", lambda value: bool(name_or_id(value)))
_WORDS = Kind("a list of texts", _is_words, _UTF8)
_TEXTS = Kind('a dict of texts, such as {"NAME": "value"}', _is_texts, _UTF8)
_NAMES = Kind("a dict of texts, or a list of them", lambda v: _is_texts(v) or _is_words(v), _UTF8)
_WAIT = Kind(
    "True or False, or a number of seconds",
    lambda value: isinstance(value, bool) or is_seconds(value),
    _RANGE,
)
_OBJECT = Kind("a name", is_object, "In Kubernetes it is of small letters, digits, - and dots.")
_SIZE = Kind(
    "a size, in bytes or as 64m",
    lambda value: _is_whole(value, 0, sys.maxsize) or is_text(value),
)

_ARGUMENTS: Mapping[str, Mapping[str, Kind]] = {
    "client": {
        "timeout": Kind("a number of seconds above 0", lambda v: is_seconds(v) and v > 0, _RANGE),
        "version": Kind(
            'an API version, such as "1.41", or "auto"',
            lambda value: is_text(value) and re.fullmatch(r"auto|\d+\.\d+", value) is not None,
        ),
        "user_agent": Kind("a text of one line in ASCII", lambda v: is_text(v) and v.isprintable()),
        "max_pool_size": Kind("a number above 0", lambda value: _is_whole(value, 1, 65535)),
    },
    "exec": {
        "check": _SWITCH,
        "env": _or_none(Kind('a dict, such as {"NAME": "value"}', _is_variables, _UTF8)),
        "workdir": _or_none(Kind("a path in the container as text, or None", is_text, _UTF8)),
        "stdin": _or_none(Kind("text, bytes or None", _is_input, "Text is what UTF-8 has.")),
        "timeout": _or_none(Kind("a number of seconds, or None", is_seconds, _RANGE)),
        "text": _SWITCH,
    },
    "copy_to": {"source": _PATH, "target": _PATH_THERE},
    "copy_from": {"source": _PATH_THERE, "target": _PATH},
    "address": {"wait": _WAIT},
    "nested_address": {"network": _TEXT},
    "wait_for": {
        "container": _CONTAINER,
        "healthy": _SWITCH,
        "log": _or_none(Kind("a regular expression, as text or compiled", _is_pattern)),
        "port": _or_none(Kind("a port inside the container, such as 80", _is_port)),
        "exited": _or_none(Kind("an exit code, such as 0", lambda value: _is_whole(value, 0, 255))),
        "timeout": _SECONDS,
    },
    "build": {
        "path": Kind("the path of a directory", _is_path),
        "tag": Kind('an image\'s name, such as "mine:1"', is_image),
        "buildargs": _TEXTS,
        "cache_from": _WORDS,
        "container_limits": Kind('a dict, such as {"memory": 2**30}', _is_limits),
        "dockerfile": Kind("the path of a file", _is_path),
        "extra_hosts": _NAMES,
        "forcerm": _SWITCH,
        "isolation": _TEXT,
        "labels": _NAMES,
        "network_mode": _TEXT,
        "nocache": _SWITCH,
        "platform": _TEXT,
        "pull": _SWITCH,
        "rm": _SWITCH,
        "shmsize": _SIZE,
        "squash": _SWITCH,
        "target": _TEXT,
    },
    "logs": {
        "tail": _or_none(
            Kind("a number of lines, or None", lambda value: _is_whole(value, 0, sys.maxsize))
        ),
    },
    "restart": {"timeout": _SECONDS},
    "dind_factory": {
        "name": _TEXT,
        "image": _TEXT,
        # All else is checked as a setting.
        "mode": _TEXT,
        "snapshot": _TEXT,
        "start": _SWITCH,
    },
    "swarm": {
        "nodes": Kind("a whole number, such as 3", is_nodes, f"It is from 1 to {MOST_NODES}."),
        "managers": Kind(
            "a whole number, such as 1 or 3", is_nodes, f"It is from 1 to {MOST_NODES}."
        ),
        "image": _TEXT,
        "mode": _TEXT,
    },
    "kubernetes": {
        "nodes": Kind("a whole number, such as 3", is_nodes, f"It is from 1 to {MOST_NODES}."),
        "image": _TEXT,
        "name": _TEXT,
        "mode": _TEXT,
    },
    "Kubernetes.address": {
        "port": Kind("a port, such as 80, or its name", _is_port),
        "protocol": Kind("tcp or udp", lambda value: is_text(value) and value in ("tcp", "udp")),
        "namespace": _OBJECT,
        "wait": _WAIT,
    },
    "Kubernetes.logs": {
        "namespace": _OBJECT,
        "container": Kind("a container's name", lambda value: value == "" or is_object(value)),
    },
    "Kubernetes.namespace": {"name": _TEXT},
    "Kubernetes.remove_namespace": {"name": _OBJECT},
    "Kubernetes.wait_for": {
        "namespace": _OBJECT,
        "replicas": _or_none(
            Kind("a number of pods, or None", lambda value: _is_whole(value, 0, sys.maxsize))
        ),
        "timeout": _SECONDS,
    },
    "Swarm.join": {"manager": _SWITCH},
    "Swarm.address": {"service": _SERVICE},
    "Swarm.wait_for": {
        "service": _SERVICE,
        "replicas": _or_none(
            Kind("a number of tasks, or None", lambda value: _is_whole(value, 0, sys.maxsize))
        ),
        "timeout": _SECONDS,
    },
}
"""Of each call the arguments that have a kind; what is more to an argument the call itself says."""


def demand(call: str, **given: object) -> None:
    """Check arguments of a call against the table.

    Raises:
        SettingsError: one is of another kind.
    """
    kinds = _ARGUMENTS[call]
    for name, value in given.items():
        kind = kinds.get(name)
        if kind is not None and not kind.allows(value):
            raise bad(call, name, value, kind.valid, note=kind.note)


def bad(call: str, name: str, value: object, valid: str, *, note: str = "") -> SettingsError:
    """The error for an argument that has a value that it can't have.

    Args:
        call: The call.
        name: The argument.
        value: Its value.
        valid: What it may be, as it follows "Give NAME".
        note: What else there is to know.
    """
    return SettingsError(
        f"{call}: {name}={shown(value)} is not a valid value.",
        evidence=f"Its type is {type(value).__name__}. {note}",
        remedy=[f"Give {name} {valid}."],
    )
