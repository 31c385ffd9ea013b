"""The settings: each is written once, as an option; they are frozen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from typing import Final, NoReturn, TypedDict

    from typing_extensions import Unpack

    class Traits(TypedDict, total=False):
        """The traits that few options have; see `option`."""

        shapes: bool
        commas: bool
        daemon_only: bool
        run_only: bool
        bare: str
        several: bool


Mode = Literal["sysbox", "dind", "socket"]
"""How a daemon is made; each mode has a module of the same name in `pytest_dind.backends`."""
MODES: tuple[str, ...] = get_args(Mode)
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
    **traits: Unpack[Traits],
) -> Any:
    """Declare a field of `Settings` that is an option too; a tuple as default makes it repeatable.

    Args:
        default: The value when the option is not given.
        text: The option's help.
        metavar: The placeholder for the value in the help.
        choices: The valid values, where only some are valid.
        traits: `shapes`: whether daemons with different values of the setting are different
            daemons; by default they are. `commas`: whether one text may hold several values, with
            commas between them. `daemon_only`: whether only a daemon that a run starts has the
            setting; the outer engine itself, which mode socket gives to tests, has not.
            `run_only`: whether it is of the run, or of the daemon that it shares, so that further
            daemons of `dind_factory` have none. `bare`: the value of the option when it is given
            without one, where that is allowed. `several`: whether the option may be given several
            times for one value each, with which the tests run in turn; the setting has one of them.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "text": text,
            "metavar": metavar,
            "choices": tuple(choices),
            "repeatable": isinstance(default, tuple),
            "shapes": True,
            "commas": False,
            "daemon_only": False,
            "run_only": False,
            "bare": None,
            "several": False,
            **traits,
        },
    )


# Its own `__init__`, `__eq__` and `__repr__`, and frozen by methods of its own: those that
# `dataclass` writes for so many fields take each run with the plugin installed two milliseconds,
# whether it uses a daemon or not. `Final` tells type checkers the same.
@dataclass(init=False, eq=False, repr=False)
class Settings:
    """The values of the options, validated; each attribute is named as its option is.

    Raises:
        SettingsError: a value is not valid; the text names the valid ones.
    """

    mode: Final[str] = option(
        AUTO,
        "how the daemon is made: dind (a --privileged container), sysbox (a container under the "
        "sysbox-runc runtime, without privilege), socket (the outer engine itself, behind a "
        "guard), or auto (sysbox where it works, else dind)",
        metavar="MODE",
        choices=(AUTO, *MODES),
    )
    image: Final[str] = option(
        "docker:dind",
        "the daemon's image; pulled when it is missing; given several times: each test runs on a "
        "daemon of each",
        metavar="IMAGE",
        several=True,
    )
    host: Final[str] = option(
        "",
        "the outer engine: a unix://, tcp:// or ssh:// URL, or a context's name; empty: as the "
        "docker CLI finds it",
        metavar="HOST",
    )
    timeout: Final[float] = option(
        60,
        "seconds a daemon may take from start to healthy; pulls of images don't count",
        metavar="SECONDS",
        shapes=False,
    )
    arg: Final[tuple[str, ...]] = option(
        (), "a further dockerd argument", metavar="ARG", daemon_only=True
    )
    publish: Final[tuple[str, ...]] = option(
        (),
        "a port or range of the daemon's container (8080, 8000-8010, 53/udp) to publish "
        "on the same port of loopback, or of an engine's host elsewhere",
        metavar="PORT",
        daemon_only=True,
    )
    mount: Final[tuple[str, ...]] = option(
        ("project", "tmp"),
        "files of this machine that the daemon has too, under the same path: PATH[:TARGET][:ro], "
        "copy:PATH[:TARGET] (a copy made at the start), project (pytest's root directory), tmp "
        "(this run's base directory of tmp_path); empty: none; in mode socket: what may be bound",
        metavar="PATH",
    )
    forward: Final[str] = option(
        "auto",
        "whether ports that nested containers publish are opened on the same port of this "
        "machine's loopback, where that is free: auto or off",
        metavar="WHAT",
        choices=("auto", "off"),
        shapes=False,
    )
    memory: Final[str] = option(
        "",
        "memory limit of the daemon's container, as 512m or 2g",
        metavar="SIZE",
        daemon_only=True,
    )
    cpus: Final[str] = option(
        "", "CPU limit of the daemon's container, as 1.5", metavar="NUMBER", daemon_only=True
    )
    network: Final[str] = option(
        "",
        "a network of the outer engine that the daemon's container joins, by its name: nested "
        "containers reach what is in it, by name too",
        metavar="NAME",
        daemon_only=True,
    )
    registry_mirror: Final[tuple[str, ...]] = option(
        (),
        "a mirror of Docker Hub that the daemon pulls through, as a URL",
        metavar="URL",
        daemon_only=True,
    )
    insecure_registry: Final[tuple[str, ...]] = option(
        (),
        "a registry (host:port or CIDR) to which the daemon may speak HTTP",
        metavar="REGISTRY",
        daemon_only=True,
    )
    env: Final[tuple[str, ...]] = option(
        (),
        "a variable in the environment of the daemon and its container, as NAME=VALUE, or NAME for "
        "this process's own",
        metavar="NAME[=VALUE]",
        daemon_only=True,
    )
    ca: Final[tuple[str, ...]] = option(
        (),
        "a file with the certificate of an authority that the daemon trusts, for one registry "
        "(HOST=FILE, as registry:5000=ca.pem) or for all",
        metavar="[HOST=]FILE",
        daemon_only=True,
    )
    load: Final[tuple[str, ...]] = option(
        (),
        "an image of the outer engine to have in the daemon from the start, by name or digest",
        metavar="IMAGE",
    )
    cache: Final[str] = option(
        "on",
        "the warm store behind --dind-load: on, off, or refresh (made anew)",
        metavar="WHAT",
        choices=("on", "off", "refresh"),
        shapes=False,
    )
    cache_size: Final[str] = option(
        "10g",
        "limit of the warm store, as 500m or 10g; the least recently used goes first",
        metavar="SIZE",
        shapes=False,
    )
    scope: Final[str] = option(
        "session",
        "how many daemons under xdist: session (one for the whole run) or worker (one each)",
        metavar="SCOPE",
        choices=("session", "worker"),
        shapes=False,
        run_only=True,
    )
    ahead: Final[str] = option(
        "auto",
        "whether the start of the daemon, or of the cluster of dind_kubernetes or dind_swarm, "
        "begins with the session, beside collection, where the last run with the same options "
        "needed it (pytest's cache knows): auto or off",
        metavar="WHEN",
        choices=("auto", "off"),
        shapes=False,
        run_only=True,
    )
    spares: Final[float] = option(
        1,
        "how many daemons are started ahead, in the background, for tests that have dind_fresh; "
        "never more than such tests are still to run; 0: none",
        metavar="NUMBER",
        shapes=False,
        run_only=True,
    )
    nodes: Final[float] = option(
        3,
        "how many nodes the swarm of dind_swarm has, each a daemon, and the cluster of "
        "dind_kubernetes",
        metavar="NUMBER",
        shapes=False,
        run_only=True,
    )
    kubernetes_image: Final[str] = option(
        "rancher/k3s:v1.34.9-k3s1",
        "the image of the nodes of dind_kubernetes: rancher/k3s, or one that keeps the contract of "
        "docs/kubernetes.md",
        metavar="IMAGE",
        shapes=False,
        run_only=True,
    )
    keep: Final[str] = option(
        "never",
        "keep the daemon after the run, and the cluster of dind_kubernetes and dind_swarm, and say "
        "how to attach: never, on-failure or always",
        metavar="WHEN",
        choices=("never", "on-failure", "always"),
        shapes=False,
        run_only=True,
    )
    reuse: Final[str] = option(
        "",
        "a name: the next run with the same name and settings takes the same daemon, and the same "
        "cluster of dind_kubernetes and dind_swarm, which stay until they are removed (python -m "
        "pytest_dind rm)",
        metavar="NAME",
        shapes=False,
        run_only=True,
    )
    leaks: Final[str] = option(
        "report",
        "what tests leave behind in the daemon: off, report (in the summary) or fail (the test)",
        metavar="WHAT",
        choices=("off", "report", "fail"),
        shapes=False,
        run_only=True,
    )
    logs: Final[str] = option(
        "failed",
        "whose report has what the daemon and its containers logged: failed (tests), all, or off",
        metavar="WHAT",
        choices=("failed", "all", "off"),
        shapes=False,
        run_only=True,
    )
    log_lines: Final[float] = option(
        20,
        "how many lines of each log a report has at the most",
        metavar="NUMBER",
        shapes=False,
        run_only=True,
    )
    report: Final[str] = option(
        "",
        "where a report of the run is written: a page that shows tests, daemons and containers on "
        "one line of time, and its data in PATH.json; empty: nowhere",
        metavar="PATH",
        shapes=False,
        run_only=True,
    )
    guard: Final[str] = option(
        "own",
        "mode socket: own (tests see and touch only what this run made) or label (all is passed "
        "on; what is made is labelled, and removed in the end)",
        metavar="WHAT",
        choices=("own", "label"),
    )
    guard_allow: Final[tuple[str, ...]] = option(
        (),
        "mode socket: one thing that the guard refuses otherwise, such as privileged, "
        "bind:/path or cap:NET_ADMIN",
        metavar="WHAT",
    )
    require: Final[tuple[str, ...]] = option(
        (),
        "a marker's requirement that fails a test instead of skipping it: sysbox, isolation, "
        "engine, modes, kubernetes, or all; several with commas",
        metavar="WHAT",
        choices=("sysbox", "isolation", "engine", "modes", "kubernetes", "all"),
        commas=True,
        shapes=False,
        run_only=True,
    )
    unavailable: Final[str] = option(
        "fail",
        "what becomes of a test when no daemon can be had: fail or skip",
        metavar="WHAT",
        choices=("fail", "skip"),
        shapes=False,
    )

    doctor: Final[str] = option(
        DOCTOR_OFF,
        "print what this machine can do, mode by mode, and exit: off, quick (what the option means "
        "without a value), or full, which starts a daemon in each mode",
        metavar="WHAT",
        choices=(DOCTOR_OFF, DOCTOR_QUICK, DOCTOR_FULL),
        shapes=False,
        run_only=True,
        bare=DOCTOR_QUICK,
    )

    def __init__(self, **given: Any) -> None:
        fields = dataclasses.fields(self)
        if given:
            # Only where a value is given: a run that uses no daemon does not load the validation.
            from .validation import check, normalized

            given = normalized(given, fields)
        vars(self).update((field.name, given.get(field.name, field.default)) for field in fields)
        if given:
            check(vars(self))

    def replace(self, **changes: Any) -> Settings:
        """Return a copy with these changes, validated as the options are."""
        return Settings(**{**vars(self), **changes})

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, Settings) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def shape(self) -> dict[str, Any]:
        """Return the settings that tell one daemon from another, as JSON has them."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self)
            if field.metadata["shapes"]
            for value in [getattr(self, field.name)]
        }

    def of_started_daemon(self) -> list[str]:
        """Return the names of the given settings that only a daemon that a run starts has."""
        return [
            field.name
            for field in dataclasses.fields(self)
            if field.metadata["daemon_only"] and getattr(self, field.name) != field.default
        ]

    def of_run(self) -> list[str]:
        """Return the names of the settings that are of the run, not of each of its daemons."""
        return [field.name for field in dataclasses.fields(self) if field.metadata["run_only"]]

    def check_files(self) -> None:
        """Check the files that settings name; they need not be there for what is running already.

        Raises:
            SettingsError: one can't be had.
        """
        if self.ca:
            from .validation import authorities, certificate

            for _, path in authorities(self.ca):
                certificate(path)

    def ports(self) -> list[tuple[int, str]]:
        """Return the ports that `publish` names, each with its protocol."""
        from .validation import ports

        return ports(self.publish)
