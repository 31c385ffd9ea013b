"""The validation of settings: loaded once a setting is given, since the defaults are valid."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import allowances, mounts
from .errors import SettingsError

_Field = dataclasses.Field[Any]

MOST_SECONDS = 1_000_000
"""No wait takes longer: what is above some 24 days, a socket's time-out doesn't take."""

MOST_LINES = 10_000
"""No report has more lines of a log: it is held in memory, and sent through xdist."""

MOST_SPARES = 100
"""Each takes some 40 MB of memory, and threads of the test process."""

MOST_NODES = 100
"""Each is a daemon, and takes some 80 MB of memory."""

_LONGEST_SHOWN = 200
_SIZE = re.compile(r"\d+(\.\d+)?[kmgtKMGT]")
_NUMBER = re.compile(r"\d+(\.\d+)?")
# -g is --graph; short flags may stand together, and their value with them.
_DATA_ROOT = re.compile(r"--(data-root|graph)(=|\s|$)|-D*g")
# Short: the name is part of a unix socket's path.
_REUSE_NAME = re.compile(r"[A-Za-z0-9_-]{1,22}")
# Each port costs the engine a process and two of its rules, a tenth of a second or two in all, also
# when nobody waits for it any more.
_MOST_PORTS = 200
# As in an image's name, and as a directory's.
_REGISTRY = re.compile(r"(?!\.)[A-Za-z0-9._-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")
# As the engine parses references (distribution/reference); an id is a name too.
_NAME_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_HOST_PART = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_IMAGE = re.compile(
    rf"(?:(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?"
    rf"{_NAME_PART}(?:/{_NAME_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?"
)
_CONTEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_SCHEMES = ("unix", "tcp", "ssh", "http", "https")
# The engine counts bytes, and billionths of a CPU, in 64 bits.
_ENGINES_LIMIT = 2**63
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_PORT = re.compile(r"(?P<first>\d+)(-(?P<last>\d+))?(/(?P<protocol>tcp|udp))?")


def shown(value: object) -> str:
    """Return a value as an error shows it: cut where it is long, by its type where it can't be."""
    try:
        text = repr(value).encode(errors="backslashreplace").decode()
    except Exception:
        # Of an object's own, or of a number with too many digits.
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def is_text(value: object) -> bool:
    """Tell whether a value is a text that can be sent to an engine, or given to a process."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, as in what stands for a byte that is no UTF-8.
        return False
    return True


def is_seconds(value: object) -> bool:
    """Tell whether a value is a number of seconds that a wait can take."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # Not so of a nan either.
    return 0 <= value <= MOST_SECONDS


def is_nodes(value: object) -> bool:
    """Tell whether a value is a number of nodes that a cluster can have."""
    return _is_count(value, MOST_NODES) and value != 0


def _is_count(value: object, most: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # Not so of a nan either.
    return 0 <= value <= most and int(value) == value


def is_image(value: object) -> bool:
    """Tell whether a value can be the name of an image, or its id."""
    return isinstance(value, str) and _IMAGE.fullmatch(value) is not None


def bad(name: str, value: object, valid: Iterable[str], *, why: str = "") -> SettingsError:
    """Return the error for an invalid value of a setting.

    Args:
        name: The setting.
        value: Its value.
        valid: The valid values, or a description of them.
        why: What is wrong with the value, where that is not plain.
    """
    flag = f"--dind-{name.replace('_', '-')}"
    reason = f"{why[0].upper()}{why[1:]}. " if why else ""
    return SettingsError(
        f"{flag}: {shown(value)} is not a valid value.",
        evidence=f"{reason}Valid: {', '.join(valid)}.",
        remedy=[f"Give {flag} (or the ini key dind_{name}) one of the valid values."],
    )


def read(field: _Field, given: str | Sequence[str]) -> Any:
    """Return the value that an option or an ini key means, which are texts.

    A number is read where the setting's default is one; a text that is none stays, for `check` to
    refuse. Empty values of a repeatable setting are left out, so that one alone empties the list.
    """
    if field.metadata["repeatable"]:
        return tuple(filter(None, given))
    if isinstance(field.default, (int, float)) and isinstance(given, str):
        try:
            return float(given)
        except ValueError:
            return given
    return given


def normalized(given: Mapping[str, Any], fields: Sequence[_Field]) -> dict[str, Any]:
    """Return the values as settings hold them: numbers as texts, several values as a tuple.

    Args:
        given: The values, by the settings' names.
        fields: The fields of `Settings`.

    Raises:
        SettingsError: a value is of a wrong type, or none of the choices; or there is no such
            setting.
    """
    known = {field.name: field for field in fields}
    unknown = given.keys() - known.keys()
    if unknown:
        raise SettingsError(
            f"Settings have no {', '.join(sorted(unknown))}.",
            evidence=f"Valid: {', '.join(known)}.",
            remedy=["Name a valid setting; each is named as its option is."],
        )
    return {name: _normal(known[name], value) for name, value in given.items()}


def _normal(field: _Field, value: Any) -> Any:
    repeatable = field.metadata["repeatable"]
    values: tuple[Any, ...] = (value,)
    if repeatable:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise bad(field.name, value, [f"a list of values, such as [{shown(value)}]"])
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
    return values if repeatable else values[0]


def _text(name: str, value: object) -> str:
    """Return a value as an option has it: `cpus=1.5` means what `--dind-cpus 1.5` does."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = shown(value)
    if not is_text(value):
        raise bad(name, value, ["a text that UTF-8 has, without NUL"])
    return str(value)


def check(values: Mapping[str, Any]) -> None:
    """Check that each value can work.

    Args:
        values: The normalized value of every setting.

    Raises:
        SettingsError: a value cannot work.
    """

    def demand(valid: bool, name: str, *hints: str) -> None:
        if not valid:
            raise bad(name, values[name], hints)

    timeout, reuse, cpus = values["timeout"], values["reuse"], values["cpus"]
    _check_image("image", values["image"])
    _check_image("kubernetes_image", values["kubernetes_image"])
    for name in values["load"]:
        _check_image("load", name)
    _check_host(values["host"])
    demand(
        is_seconds(timeout) and timeout > 0,
        "timeout",
        f"a number of seconds above 0, such as 60, and not above {MOST_SECONDS}",
    )
    demand(
        not reuse or _REUSE_NAME.fullmatch(reuse) is not None,
        "reuse",
        "1 to 22 letters, digits, _ and -",
    )
    demand(
        _is_count(values["spares"], MOST_SPARES),
        "spares",
        f"a whole number from 0 to {MOST_SPARES}, such as 2",
    )
    demand(is_nodes(values["nodes"]), "nodes", f"a whole number from 1 to {MOST_NODES}, such as 3")
    demand(
        _is_count(values["log_lines"], MOST_LINES),
        "log_lines",
        f"a whole number from 0 to {MOST_LINES}, such as 20",
    )
    demand(_is_size(values["cache_size"]), "cache_size", "a size such as 500m or 10g")
    memory = values["memory"]
    demand(not memory or _is_size(memory), "memory", "a size such as 512m or 2g")
    demand(
        not cpus
        or (_NUMBER.fullmatch(cpus) is not None and 0 < float(cpus) * 1e9 < _ENGINES_LIMIT),
        "cpus",
        "a number above 0, such as 1.5",
    )
    for one in values["guard_allow"]:
        if not allowances.is_known(one):
            raise bad("guard_allow", one, allowances.valid())
    for url in values["registry_mirror"]:
        if not url.startswith(("http://", "https://")):
            raise bad("registry_mirror", url, ["a URL with http:// or https://"])
    for registry in values["insecure_registry"]:
        if not registry or "://" in registry:
            raise bad("insecure_registry", registry, ["host:port or a CIDR, without http://"])
    _check_mounts(values["mount"])
    _check_args(values["arg"])
    ports(values["publish"])
    variables(values["env"])
    authorities(values["ca"])


def _is_size(text: str) -> bool:
    return (
        _SIZE.fullmatch(text) is not None
        and float(text[:-1]) * _UNITS[text[-1].lower()] < _ENGINES_LIMIT
    )


def _check_image(name: str, text: str) -> None:
    if not is_image(text):
        why = ""
        if is_image(text.lower()):
            why = "an image's name is in lower case, but for its registry and its tag"
        raise bad(name, text, ["an image's name, such as docker:dind"], why=why)


def _check_host(text: str) -> None:
    """Check that the setting `host` names a place, or may be a context's name."""
    scheme, separator, place = text.partition("://")
    why = ""
    if separator and scheme not in _SCHEMES:
        why = f"there is no way to an engine by {scheme}://"
    elif separator and scheme == "unix":
        why = "" if place else "it names no socket"
    elif separator:
        why = _no_host(text)
    elif text and not _CONTEXT.fullmatch(text):
        why = "no context has such a name"
    if why:
        valid = ["unix://PATH", "tcp://HOST:PORT", "ssh://[USER@]HOST", "a context's name"]
        raise bad("host", text, valid, why=why)


def _no_host(url: str) -> str:
    """Return why a URL leads to no host; an empty text where it may lead to one."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        # A port that is none is a ValueError.
        return "" if parts.hostname and parts.port != 0 else "it names no host"
    except ValueError as error:
        return str(error)


def _check_mounts(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            mounts.parse(text)
        except ValueError as error:
            raise bad("mount", text, mounts.VALID, why=str(error)) from error


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
    """Return the ports that the setting `publish` names, each with its protocol.

    Raises:
        SettingsError: a text names no port, or all together name too many.
    """
    found: list[tuple[int, str]] = []
    named = 0
    for text in published:
        match = _PORT.fullmatch(text)
        first = int(match["first"]) if match else 0
        last = int(match["last"] or first) if match else 0
        if match is None or not 0 < first <= last < 65536:
            raise bad("publish", text, ["a port (8080), a range (8000-8010), udp (53/udp)"])
        named += last + 1 - first
        if named > _MOST_PORTS:
            raise SettingsError(
                f"--dind-publish: with {text!r} these are more than {_MOST_PORTS} ports.",
                evidence=f"Valid: at most {_MOST_PORTS} in all; asked for are {named} so far. Each "
                "costs the outer engine a process and a tenth of a second or more, for which all "
                "that use the engine wait.",
                remedy=["Publish only the ports that are used, such as 8000-8010."],
            )
        found += [(port, match["protocol"] or "tcp") for port in range(first, last + 1)]
    return found


def variables(given: Iterable[str]) -> dict[str, str | None]:
    """Return the variables that the setting `env` names; None is the value of a name alone.

    Raises:
        SettingsError: a text names no variable.
    """
    found: dict[str, str | None] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or "\0" in text or any(map(str.isspace, name)):
            raise bad("env", text, ["NAME=VALUE", "NAME, for the value that this process has"])
        found[name] = value if equals else None
    return found


def authorities(given: Iterable[str]) -> list[tuple[str, str]]:
    """Return what the setting `ca` names: a registry, empty for all, and a file.

    Raises:
        SettingsError: a text names no file, or no registry.
    """
    found = []
    for text in given:
        host, equals, path = text.rpartition("=")
        if not path or (equals and not _REGISTRY.fullmatch(host)):
            raise bad("ca", text, ["FILE", "HOST=FILE, such as registry:5000=ca.pem"])
        found.append((host, path))
    return found


def certificate(path: str) -> bytes:
    """Return the content of a file that the setting `ca` names.

    Not checked with the settings, which another process may read when the file is gone.

    Raises:
        SettingsError: it can't be read, or has no certificate.
    """
    import ssl
    from pathlib import Path

    try:
        content = Path(path).expanduser().read_bytes()
        # Not `create_default_context`, which first reads the machine's own: 30 ms.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=content.decode("ascii"))
    # A ValueError: it is empty, or no text.
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"--dind-ca: {path!r} is not a file with a certificate.",
            evidence=str(error),
            remedy=[
                "Name a file in PEM format, which begins with -----BEGIN CERTIFICATE-----.",
                "Convert one in DER format: openssl x509 -inform der -in FILE -out ca.pem",
            ],
        ) from error
    return content
