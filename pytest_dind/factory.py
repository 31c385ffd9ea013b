"""More daemons: of other images and modes, on one network, all gone in the end."""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from . import labels, reaper
from .errors import SettingsError
from .settings import ISOLATED
from .validation import bad
from .workspace import ROOT

if TYPE_CHECKING:
    from .daemon import Daemon
    from .settings import Settings
    from .sharing import Run

# Files in a run's directory, where daemons have their homes.
_TAKEN = frozenset({reaper.ENGINE, reaper.LEASE, reaper.NETWORK, ROOT})
# Short: it is part of a unix socket's path, and of a host name.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,21}")


class Factory:
    """Starts daemons that reach each other by name; may be called from several threads.

    Args:
        run: A run of this factory's own; closing the factory ends it.
        settings: What daemons have unless told otherwise.
        unavailable: What becomes of a test for which no daemon of settings can be had.
    """

    def __init__(
        self,
        run: Run,
        settings: Settings,
        unavailable: Callable[[Settings], AbstractContextManager[None]],
    ) -> None:
        self._run = run
        self._settings = settings
        self._unavailable = unavailable
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._networks: set[str] = set()

    def __call__(
        self,
        name: str = "",
        *,
        image: str = "",
        mode: str = "",
        args: Sequence[str] = (),
        **settings: Any,
    ) -> Daemon:
        """Start one more daemon.

        Args:
            name: Its name, by which the factory's other daemons reach it: lower-case letters,
                digits and `-`; without, one is made up.
            image: Its image; without, that of `dind_daemon`.
            mode: How it is made; without, as `dind_daemon` is.
            args: Further dockerd arguments.
            settings: Further settings, named as the options are, such as `load` or `memory`.

        Raises:
            DindError: it can't be had; nothing of it is left.
        """
        if isinstance(args, str):
            raise bad("arg", args, [f"a list of values, such as [{args!r}]"])
        name = name or f"extra-{next(self._numbers)}"
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise SettingsError(
                f"dind_factory: {name!r} is not a valid name.",
                evidence="Valid: 1 to 22 of a-z, 0-9 and -, the first not -, but for "
                f"{', '.join(sorted(_TAKEN))}.",
                remedy=["Give a valid name, or none."],
            )
        chosen = self._settings.replace(
            **{
                # Two daemons can't have the same port of the engine's machine.
                "publish": [],
                "reuse": "",
                "keep": "never",
                "arg": [*self._settings.arg, *args],
                **({"image": image} if image else {}),
                **({"mode": mode} if mode else {}),
                **settings,
            }
        )
        with self._unavailable(chosen):
            daemon = self._run.another(name, chosen)
        try:
            # The outer engine itself, in mode socket, has no container to be reached by name.
            if daemon.mode in ISOLATED:
                network = self._network(chosen)
                api = self._run.engine(chosen).client.api
                api.connect_container_to_network(daemon.id, network, aliases=[name])
        except BaseException:
            daemon.stop()
            raise
        return daemon

    def _network(self, settings: Settings) -> str:
        """The network of the daemons on this engine, made for the first of them."""
        path = self._run.path
        name = reaper.network(path)
        with self._lock:
            if settings.host not in self._networks:
                # Who ends the run in this process's place is told before there is one.
                (path / reaper.NETWORK).touch()
                ours = labels.make(path.name, mode="", keep="never", home=path / reaper.NETWORK)
                api = self._run.engine(settings).client.api
                api.create_network(name, driver="bridge", labels=ours | {labels.ROLE: "network"})
                self._networks.add(settings.host)
        return name

    def close(self) -> None:
        """End all of its daemons; remove their network."""
        from docker.errors import APIError

        try:
            engines = [self._run.engine(self._settings.replace(host=on)) for on in self._networks]
            for daemon in self._run.others:
                daemon.stop()
            for engine in engines:
                # What is still in its way, the reaper or the next run's sweep removes.
                with contextlib.suppress(APIError):
                    engine.client.api.remove_network(reaper.network(self._run.path))
        finally:
            # One that can't be removed holds up neither the others nor the leases.
            self._run.close()
