"""A hook's part in a daemon's container: what it may change, and what the plugin relies upon."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import DindError, NoShell, NotShared, SettingsError
from .protocol import Shaper
from .spec import ContainerSpec

HOOK = "pytest_dind_create_container"


@dataclass(frozen=True)
class Shaped:
    """A daemon's container, as the engine is to be asked for it.

    Attributes:
        spec: The container, as the plugin describes it.
        create: The arguments of docker-py's `create_container`.
        changes: What a hook has changed: `labels.mine`, `host_config.Devices`.
        authors: Whose hook.
    """

    spec: ContainerSpec
    create: dict[str, Any]
    changes: tuple[str, ...] = ()
    authors: str = ""

    def error(self, evidence: str, remedy: Sequence[str] = ()) -> SettingsError:
        """The error for a container that can't be had as the hook made it."""
        return SettingsError(
            f"The container of the daemon {self.spec.home.name!r} (mode {self.spec.mode.name}) "
            f"can't be created as the hook {HOOK} of {self.authors} has changed it.",
            evidence=f"{evidence}\nThe hook has changed: {', '.join(self.changes)}.",
            remedy=[*remedy, f"Mend what the hook changes in its argument `create`: {_TAKES}."],
        )

    @contextmanager
    def naming_the_hook(self) -> Iterator[None]:
        """Have the error of a daemon that does not get ready name the hook that has a part in it.

        Raises:
            DindError: in place of one of the same kind.
        """
        try:
            yield
        except DindError as error:
            # Another connection may lead to the daemon, see `ContainerBackend.start`.
            if not self.changes or isinstance(error, (NotShared, NoShell)):
                raise
            look = f"Look at the hook {HOOK} of {self.authors}, by which the container is changed: "
            raise type(error)(
                error.what,
                evidence=error.evidence,
                remedy=[*error.remedy, f"{look}{', '.join(self.changes)}."],
            ) from error


_TAKES = "it is what docker-py's create_container takes, to be changed in place"


def shaped(spec: ContainerSpec, create: dict[str, Any], shaper: Shaper | None) -> Shaped:
    """Let the hook change the arguments of a daemon's container.

    Args:
        spec: The container, as the plugin describes it.
        create: The arguments of docker-py's `create_container`.
        shaper: The hook; None where there can't be one.

    Raises:
        SettingsError: the hook fails, or has taken away what the plugin relies upon.
    """
    authors = shaper.authors() if shaper is not None else ()
    if shaper is None or not authors:
        return Shaped(spec, create)
    before = copy.deepcopy(create)
    shaper.call(spec.home.name, spec.mode.name, create)
    found = Shaped(spec, create, tuple(_changes(before, create)), ", ".join(authors))
    broken = list(_broken(before, create))
    if broken:
        raise found.error(
            f"The plugin relies upon: {'; '.join(broken)}.",
            [f"Leave that as it is; what is added to it may stay: {', '.join(_ADDED)}."],
        )
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The names of what differs."""
    for name in [*before, *(name for name in after if name not in before)]:
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, f"{path}{name}.")
        elif old != new:
            yield f"{path}{name}"


_ADDED = ("labels", "mounts", "arguments of dockerd at the command's end")


def _broken(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """What the plugin relies upon and is there no more."""
    for name in ("name", "user", "entrypoint"):
        if after.get(name) != before[name]:
            yield f"{name} {_short(before[name])}, now {_short(after.get(name))}"
    command, labels = after.get("command"), after.get("labels")
    if not isinstance(command, list) or command[: len(before["command"])] != before["command"]:
        yield f"the command, now {_short(command)}"
    if not isinstance(labels, Mapping) or not before["labels"].items() <= labels.items():
        yield f"its labels, now {_short(labels)}"
    old, new = before["host_config"], after.get("host_config")
    if not isinstance(new, Mapping):
        yield f"host_config as a dict, now {_short(new)}"
        return
    mounts = new.get("Mounts")
    for mount in old.get("Mounts") or []:
        if not isinstance(mounts, list) or mount not in mounts:
            yield f"the mount at {mount['Target']}"
    if new.get("AutoRemove") != old.get("AutoRemove"):
        yield f"AutoRemove {old.get('AutoRemove')}, now {new.get('AutoRemove')}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
