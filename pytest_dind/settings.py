"""The settings: each written once, as an option; frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Mode = Literal["sysbox", "dind", "socket"]
"""How a daemon is made; each has a module of the same name in `pytest_dind.backends.registry`."""
MODES: tuple[str, ...] = get_args(Mode)
ISOLATED = MODES[:-1]
"""In the order in which `auto` tries them. It never takes the last mode, the outer engine itself:
that gives isolation away, which is not to be done without a word."""
AUTO = "auto"
MAIN = "main"
"""The name of the daemon that the fixtures give."""

DOCTOR_OFF, DOCTOR_QUICK, DOCTOR_FULL = "off", "quick", "full"


def option(
    default: Any,
    text: str,
    *,
    metavar: str,
    choices: Sequence[str] = (),
    shapes: bool = True,
    commas: bool = False,
    bare: str | None = None,
) -> Any:
    """A field of `Settings` that is an option too; a tuple as default makes it repeatable.

    Args:
        default: Its value when it is not given.
        text: Its help.
        metavar: What stands for its value in the help.
        choices: The valid values, where only some are.
        shapes: Whether daemons with other values of it are different daemons.
        commas: Whether one text may hold several values.
        bare: What the option means without a value, where it may have none.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "text": text,
            "metavar": metavar,
            "choices": tuple(choices),
            "shapes": shapes,
            "commas": commas,
            "bare": bare,
        },
    )


def repeatable(field: dataclasses.Field[Any]) -> bool:
    """Whether a setting has several values."""
    return isinstance(field.default, tuple)


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
        "seconds a daemon may take from start to healthy; pulls of images don't count",
        metavar="SECONDS",
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

    def __init__(self, **given: Any) -> None:
        if given:
            # Not in each run with the plugin installed, as little else is: see `plugin`.
            from . import validation

            given = validation.normalized(given)
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, given.get(field.name, field.default))
        if given:
            validation.check(self)

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
        from . import validation

        return validation.ports(self.publish)
