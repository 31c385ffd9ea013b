"""What other engines than Docker's own say and do in ways of their own; these are Podman's."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ..lifetime.reaper import PODMAN_ONLY

# libpod's define.ErrCtrStateInvalid
_ENDS = "container state improper"


def ends_meanwhile(error: BaseException) -> bool:
    """Whether an engine can't remove a container because that is ending by itself just now.

    Docker's own engine waits for the end, or says that it removes it already (409).
    """
    return _ENDS in str(getattr(error, "explanation", None) or "")


def is_podman(api: Any) -> bool:
    """Whether an engine is Podman's service."""
    answer = api._get(f"{api.base_url}{PODMAN_ONLY}")
    return bool(answer.status_code == HTTPStatus.OK)


def kill(api: Any, name: str) -> None:
    """Kill a container that is to be removed, where the engine would wait for its end.

    Podman from 5 on sends SIGTERM, and SIGKILL ten seconds later, also where it is to remove by
    force; Docker's own engine kills it.
    """
    from docker.errors import APIError

    # One that doesn't run, or is gone, is refused.
    with contextlib.suppress(APIError):
        if is_podman(api):
            api.kill(name)


def container_host(variables: Mapping[str, str]) -> str:
    """The URL by which Podman's clients find their engine; empty where none is given."""
    return variables.get("CONTAINER_HOST", "")


def elsewhere(variables: Mapping[str, str]) -> list[str]:
    """The remedies where no engine has Docker's socket, but one of Podman's may be there."""
    sockets = [Path("/run/podman/podman.sock")]
    if variables.get("XDG_RUNTIME_DIR"):
        sockets.insert(0, Path(variables["XDG_RUNTIME_DIR"], "podman", "podman.sock"))
    served = [
        f"Use Podman, which serves here: --dind-host unix://{path}."
        for path in sockets
        if _is_socket(path)
    ]
    if served or shutil.which("podman") is None:
        return served
    return [
        "Have Podman serve, and name its socket: systemctl --user start podman.socket, "
        "--dind-host unix://$XDG_RUNTIME_DIR/podman/podman.sock; or podman machine start, and "
        "what podman machine inspect says."
    ]


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:
        # Root's own, for a user who isn't.
        return False
