"""The fixture `dind_env`, which follows what fixtures and tests do to the process's environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..daemon.handle import Daemon


class Environment:
    """The environment that `dind_env` gives.

    Args:
        daemon: The daemon that tools find in it.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._process = dict(os.environ)
        self._last = daemon.environment()
        self.given = dict(self._last)

    def follow(self) -> None:
        """Take over what has changed in the process's environment, and no more.

        What a test has put into `given` itself stays.
        """
        process = dict(os.environ)
        if process == self._process:
            return
        now = self._daemon.environment()
        for name in self._last.keys() - now.keys():
            self.given.pop(name, None)
        self.given |= {name: value for name, value in now.items() if self._last.get(name) != value}
        self._process, self._last = process, now
