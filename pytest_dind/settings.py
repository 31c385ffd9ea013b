"""The settings: each written once, as an option, and validated; frozen."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from .errors import SettingsError
from .option import bad, option, repeatable

Mode = Literal["sysbox", "dind", "socket"]
"""How a daemon is made; each has a module of the same name in `pytest_dind.backends`."""
MODES: tuple[str, ...] = get_args(Mode)
ISOLATED = MODES[:-1]
"""In the order in which `auto` tries them. It never takes the last mode, the outer engine itself:
that gives isolation away, which is not to be done without a word."""
AUTO = "auto"
MAIN = "main"
"""The name of the daemon that the fixtures give."""

DOCTOR_OFF, DOCTOR_QUICK, DOCTOR_FULL = "off", "quick", "full"

# Compiled when a value is looked at: each run with the plugin installed reads this module.
_SIZE = r"\d+(\.\d+)?[kmgtKMGT]"
_NUMBER = r"\d+(\.\d+)?"
# -g is --graph; short flags may stand together, and their value with them.
_DATA_ROOT = r"--(data-root|graph)(=|\s|$)|-D*g"
# Short: it is part of a unix socket's path.
_REUSE_NAME = r"[A-Za-z0-9_-]{1,22}"
_PORT = r"(?P<first>\d+)(-(?P<last>\d+))?(/(?P<protocol>tcp|udp))?"


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise bad("timeout", text, ["a number of seconds above 0, such as 60"]) from None


def _unknown(names: Iterable[str]) -> SettingsError:
    return SettingsError(
        f"Settings have no {', '.join(sorted(names))}.",
        evidence=f"Valid: {', '.join(field.name for field in dataclasses.fields(Settings))}.",
        remedy=["Name a valid setting; each is named as its option is."],
    )


def _text(name: str, value: object) -> str:
    """A value as an option has it: `cpus=1.5` means what `--dind-cpus 1.5` does."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    raise bad(name, value, ["a text"])


# Its own `__init__`, `__eq__` and `__repr__`: those that `dataclass` writes for so many fields take
# each run with the plugin installed a millisecond, whether it uses a daemon or not.
@dataclass(frozen=True, init=False, eq=False, repr=False)
class Settings:
    """What the options say, validated. Attributes are named as the options are.

    Raises:
        SettingsError: a value is not valid; the text names the valid ones.
    """

    mode: str = option(
        AUTO,
        "how the daemon is made: dind (a --privileged container), sysbox (a container under the "
        "sysbox-runc runtime, without privilege), socket (the outer engine itself, behind a "
        "guard), or auto (sysbox where it works, else dind)",
        metavar="MODE",
        choices=(AUTO, *MODES),
    )
    image: str = option(
        "docker:dind", "the daemon's image; pulled when it is missing", metavar="IMAGE"
    )
    host: str = option(
        "",
        "the outer engine: a unix://, tcp:// or ssh:// URL, or a context's name; empty: as the "
        "docker CLI finds it",
        metavar="HOST",
    )
    timeout: float = option(
        60,
        "seconds a daemon may take from start to healthy",
        metavar="SECONDS",
        parse=_seconds,
        shapes=False,
    )
    arg: tuple[str, ...] = option((), "a further dockerd argument", metavar="ARG")
    publish: tuple[str, ...] = option(
        (),
        "a port or range of the daemon's container (8080, 8000-8010, 53/udp) to publish "
        "on the same port of loopback, or of an engine's host elsewhere",
        metavar="PORT",
    )
    memory: str = option(
        "", "memory limit of the daemon's container, as 512m or 2g", metavar="SIZE"
    )
    cpus: str = option("", "CPU limit of the daemon's container, as 1.5", metavar="NUMBER")
    registry_mirror: tuple[str, ...] = option(
        (), "a mirror of Docker Hub that the daemon pulls through, as a URL", metavar="URL"
    )
    insecure_registry: tuple[str, ...] = option(
        (), "a registry (host:port or CIDR) to which the daemon may speak HTTP", metavar="REGISTRY"
    )
    load: tuple[str, ...] = option(
        (), "an image of the outer engine to have in the daemon from the start", metavar="IMAGE"
    )
    cache: str = option(
        "on",
        "the warm store behind --dind-load: on, off, or refresh (made anew)",
        metavar="WHAT",
        choices=("on", "off", "refresh"),
        shapes=False,
    )
    cache_size: str = option(
        "10g",
        "limit of the warm store, as 500m or 10g; the least recently used goes first",
        metavar="SIZE",
        shapes=False,
    )
    scope: str = option(
        "session",
        "how many daemons under xdist: session (one for the whole run) or worker (one each)",
        metavar="SCOPE",
        choices=("session", "worker"),
        shapes=False,
    )
    keep: str = option(
        "never",
        "keep the daemon after the run, and say how to attach: never, on-failure or always",
        metavar="WHEN",
        choices=("never", "on-failure", "always"),
        shapes=False,
    )
    reuse: str = option(
        "",
        "a name: the next run with the same name and settings takes the same daemon, "
        "which stays until it is removed (python -m pytest_dind rm)",
        metavar="NAME",
        shapes=False,
    )
    leaks: str = option(
        "report",
        "what tests leave behind in the daemon: off, report (in the summary) or fail (the test)",
        metavar="WHAT",
        choices=("off", "report", "fail"),
        shapes=False,
    )
    guard: str = option(
        "own",
        "mode socket: own (tests see and touch only what this run made) or label (all is passed "
        "on; what is made is labelled, and removed in the end)",
        metavar="WHAT",
        choices=("own", "label"),
    )
    guard_allow: tuple[str, ...] = option(
        (),
        "mode socket: one thing that the guard refuses otherwise, such as privileged, "
        "bind:/path or cap:NET_ADMIN",
        metavar="WHAT",
    )
    require: tuple[str, ...] = option(
        (),
        "a marker's requirement that fails a test instead of skipping it: sysbox, isolation, "
        "engine, modes, or all; several with commas",
        metavar="WHAT",
        choices=("sysbox", "isolation", "engine", "modes", "all"),
        commas=True,
        shapes=False,
    )
    unavailable: str = option(
        "fail",
        "what becomes of a test when no daemon can be had: fail or skip",
        metavar="WHAT",
        choices=("fail", "skip"),
        shapes=False,
    )

    doctor: str = option(
        DOCTOR_OFF,
        "print what this machine can do, mode by mode, and exit: off, quick (what the option means "
        "without a value), or full, which starts a daemon in each mode",
        metavar="WHAT",
        choices=(DOCTOR_OFF, DOCTOR_QUICK, DOCTOR_FULL),
        shapes=False,
        bare=DOCTOR_QUICK,
    )

    def __init__(self, **values: Any) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, values.pop(field.name, field.default))
            self._normalize(field)
        if values:
            raise _unknown(values)
        self._check_values()
        self._check_registries()
        for arg in self.arg:
            if re.match(_DATA_ROOT, arg):
                raise SettingsError(
                    f"--dind-arg: {arg!r} is not taken.",
                    evidence="Each daemon has its data-root on a volume of its own; two daemons "
                    "on one data-root destroy it.",
                    remedy=["Have images in the daemon from the start with --dind-load IMAGE."],
                )
        self.ports()

    def _check_values(self) -> None:
        if not self.image:
            raise bad("image", self.image, ["an image's name, such as docker:dind"])
        if not (isinstance(self.timeout, (int, float)) and 0 < self.timeout < float("inf")):
            raise bad("timeout", self.timeout, ["a number of seconds above 0, such as 60"])
        if self.reuse and not re.fullmatch(_REUSE_NAME, self.reuse):
            raise bad("reuse", self.reuse, ["1 to 22 letters, digits, _ and -"])
        if not re.fullmatch(_SIZE, self.cache_size):
            raise bad("cache_size", self.cache_size, ["a size such as 500m or 10g"])
        if self.memory and not re.fullmatch(_SIZE, self.memory):
            raise bad("memory", self.memory, ["a size such as 512m or 2g"])
        if self.cpus and not (re.fullmatch(_NUMBER, self.cpus) and float(self.cpus) > 0):
            raise bad("cpus", self.cpus, ["a number above 0, such as 1.5"])
        self._check_guard()

    def _check_guard(self) -> None:
        if not self.guard_allow:
            return
        from .guard import allow

        for allowed in self.guard_allow:
            if not allow.is_known(allowed):
                raise bad("guard_allow", allowed, allow.valid())

    def _check_registries(self) -> None:
        for url in self.registry_mirror:
            if not url.startswith(("http://", "https://")):
                raise bad("registry_mirror", url, ["a URL with http:// or https://"])
        for registry in self.insecure_registry:
            if not registry or "://" in registry:
                raise bad("insecure_registry", registry, ["host:port or a CIDR, without http://"])

    def _normalize(self, field: dataclasses.Field[Any]) -> None:
        """Make texts of numbers, a tuple of a repeatable setting's values, and check choices."""
        value = getattr(self, field.name)
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
            object.__setattr__(self, field.name, values if repeatable(field) else values[0])
        choices = field.metadata["choices"]
        for one in values if choices else ():
            if one not in choices:
                raise bad(field.name, one, choices)

    def replace(self, **changes: Any) -> Settings:
        """A copy with these changes, validated like the options themselves."""
        return Settings(**{**vars(self), **changes})

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, Settings) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def shape(self) -> dict[str, Any]:
        """The settings that make a daemon what it is, as JSON has them."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self)
            if field.metadata["shapes"]
            for value in [getattr(self, field.name)]
        }

    def ports(self) -> list[tuple[int, str]]:
        """The ports that `publish` names, each with its protocol."""
        found: list[tuple[int, str]] = []
        for text in self.publish:
            match = re.fullmatch(_PORT, text)
            first = int(match["first"]) if match else 0
            last = int(match["last"] or first) if match else 0
            if match is None or not 0 < first <= last < 65536:
                raise bad("publish", text, ["a port (8080), a range (8000-8010), udp (53/udp)"])
            found += [(port, match["protocol"] or "tcp") for port in range(first, last + 1)]
        return found
