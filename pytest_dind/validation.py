"""What the settings may be: loaded once one of them is given, since the defaults are valid."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import SettingsError
from .settings import Settings, repeatable

_SIZE = re.compile(r"\d+(\.\d+)?[kmgtKMGT]")
_NUMBER = re.compile(r"\d+(\.\d+)?")
# -g is --graph; short flags may stand together, and their value with them.
_DATA_ROOT = re.compile(r"--(data-root|graph)(=|\s|$)|-D*g")
# Short: it is part of a unix socket's path.
_REUSE_NAME = re.compile(r"[A-Za-z0-9_-]{1,22}")
_PORT = re.compile(r"(?P<first>\d+)(-(?P<last>\d+))?(/(?P<protocol>tcp|udp))?")


def bad(name: str, value: object, valid: Iterable[str]) -> SettingsError:
    """The error for a value of this setting; the valid ones are listed, or told of."""
    flag = f"--dind-{name.replace('_', '-')}"
    return SettingsError(
        f"{flag}: {value!r} is not a valid value.",
        evidence=f"Valid: {', '.join(valid)}.",
        remedy=[f"Give {flag} (or the ini key dind_{name}) one of the valid values."],
    )


def seconds(text: str) -> float:
    """A time from text.

    Raises:
        SettingsError: it is no number.
    """
    try:
        return float(text)
    except ValueError:
        raise bad("timeout", text, ["a number of seconds above 0, such as 60"]) from None


def normalized(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values with numbers made texts, and a tuple of those of a repeatable setting.

    Raises:
        SettingsError: a value is of a wrong type, or none of the choices; or there is no such
            setting.
    """
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    unknown = given.keys() - fields.keys()
    if unknown:
        raise SettingsError(
            f"Settings have no {', '.join(sorted(unknown))}.",
            evidence=f"Valid: {', '.join(fields)}.",
            remedy=["Name a valid setting; each is named as its option is."],
        )
    return {name: _normal(fields[name], value) for name, value in given.items()}


def _normal(field: dataclasses.Field[Any], value: Any) -> Any:
    values: tuple[Any, ...] = (value,)
    if repeatable(field):
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise bad(field.name, value, [f"a list of values, such as [{str(value)!r}]"])
        values = tuple(value)
    if isinstance(field.default, (str, tuple)):
        values = tuple(_text(field.name, one) for one in values)
        if field.metadata["commas"]:
            parts = (part.strip() for text in values for part in text.split(","))
            values = tuple(filter(None, parts))
    choices = field.metadata["choices"]
    for one in values if choices else ():
        if one not in choices:
            raise bad(field.name, one, choices)
    return values if repeatable(field) else values[0]


def _text(name: str, value: object) -> str:
    """A value as an option has it: `cpus=1.5` means what `--dind-cpus 1.5` does."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise bad(name, value, ["a text"])


def check(settings: Settings) -> None:
    """See that each value can work.

    Raises:
        SettingsError: one can't.
    """
    if not settings.image:
        raise bad("image", settings.image, ["an image's name, such as docker:dind"])
    if not (isinstance(settings.timeout, (int, float)) and 0 < settings.timeout < float("inf")):
        raise bad("timeout", settings.timeout, ["a number of seconds above 0, such as 60"])
    if settings.reuse and not _REUSE_NAME.fullmatch(settings.reuse):
        raise bad("reuse", settings.reuse, ["1 to 22 letters, digits, _ and -"])
    if not _SIZE.fullmatch(settings.cache_size):
        raise bad("cache_size", settings.cache_size, ["a size such as 500m or 10g"])
    if settings.memory and not _SIZE.fullmatch(settings.memory):
        raise bad("memory", settings.memory, ["a size such as 512m or 2g"])
    if settings.cpus and not (_NUMBER.fullmatch(settings.cpus) and float(settings.cpus) > 0):
        raise bad("cpus", settings.cpus, ["a number above 0, such as 1.5"])
    _check_guard(settings.guard_allow)
    _check_registries(settings)
    _check_args(settings.arg)
    ports(settings.publish)


def _check_guard(allowed: Iterable[str]) -> None:
    from .guard.rules import allow

    for one in allowed:
        if not allow.is_known(one):
            raise bad("guard_allow", one, allow.valid())


def _check_registries(settings: Settings) -> None:
    for url in settings.registry_mirror:
        if not url.startswith(("http://", "https://")):
            raise bad("registry_mirror", url, ["a URL with http:// or https://"])
    for registry in settings.insecure_registry:
        if not registry or "://" in registry:
            raise bad("insecure_registry", registry, ["host:port or a CIDR, without http://"])


def _check_args(args: Iterable[str]) -> None:
    for arg in args:
        if _DATA_ROOT.match(arg):
            raise SettingsError(
                f"--dind-arg: {arg!r} is not taken.",
                evidence="Each daemon has its data-root on a volume of its own; two daemons "
                "on one data-root destroy it.",
                remedy=["Have images in the daemon from the start with --dind-load IMAGE."],
            )


def ports(published: Iterable[str]) -> list[tuple[int, str]]:
    """The ports that `publish` names, each with its protocol.

    Raises:
        SettingsError: a text names none.
    """
    found: list[tuple[int, str]] = []
    for text in published:
        match = _PORT.fullmatch(text)
        first = int(match["first"]) if match else 0
        last = int(match["last"] or first) if match else 0
        if match is None or not 0 < first <= last < 65536:
            raise bad("publish", text, ["a port (8080), a range (8000-8010), udp (53/udp)"])
        found += [(port, match["protocol"] or "tcp") for port in range(first, last + 1)]
    return found
