"""Containers of the outer engine: created, inspected, and run for one command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from ..lifetime import labels, layout
from ..lifetime.layout import Home
from . import flavor

if TYPE_CHECKING:
    import docker

    from .engine import Engine

T = TypeVar("T")

SUPERUSER = "0"
"""The user in each container of the daemon's image, whatever user that names (docker:dind-rootless
does): mounts, the lease and the daemon's socket are root's. By its id, since an image need not have
a list of users."""

_REMAPPED = "name=userns"
_LATE_SECONDS = 10
_POLL_SECONDS = 0.05
# An engine that waits for a runtime that hangs removes nothing, but remembers the request.
_REMOVAL_SECONDS = 5


def inspect(client: docker.DockerClient, name: str) -> dict[str, Any]:
    """The details of a container; empty when it is gone."""
    from docker.errors import NotFound

    try:
        details: dict[str, Any] = client.api.inspect_container(name)
    except NotFound:
        return {}
    return details


def address(details: Mapping[str, Any]) -> str:
    """The container's address in the first network that gave it one; empty without any.

    In newer engines (see `versions`) the details have no other address than those of the networks.
    """
    networks = details["NetworkSettings"]["Networks"].values()
    return next((net["IPAddress"] for net in networks if net.get("IPAddress")), "")


def gateway(details: Mapping[str, Any]) -> str:
    """The address of the engine's machine in the container's first network; empty without any."""
    networks = details["NetworkSettings"]["Networks"].values()
    return next((net["Gateway"] for net in networks if net.get("Gateway")), "")


def with_own_users(info: Mapping[str, Any]) -> dict[str, str]:
    """The host config of a container whose root is to be the engine's own.

    An engine that maps users (userns-remap) has no privileged containers else, and its root there
    may not use what is the test process's.

    Args:
        info: What the engine tells about itself.
    """
    return {"userns_mode": "host"} if _REMAPPED in (info.get("SecurityOptions") or []) else {}


def volume(target: str, name: str | None, labels: Mapping[str, str]) -> Any:
    """A mount of a volume, which the engine makes with these labels when it is missing.

    Args:
        target: The path in the container.
        name: The volume's name; None for a volume that is removed with its container.
        labels: The labels.
    """
    from docker.types import DriverConfig, Mount

    local = DriverConfig("local")
    return Mount(target, name, type="volume", labels=dict(labels), driver_config=local)


def script(*names: str) -> str:
    """The text of shell scripts of this package, in this order, for a container to run.

    Args:
        names: Their paths in the package.
    """
    return "".join(files("pytest_dind").joinpath(name).read_text() for name in names)


def create_in_place_of(remove: Callable[[], None], create: Callable[[], object]) -> None:
    """Create a container in place of one of the same name.

    The engine may still be making that one for a process that is gone.

    Args:
        remove: Removes the container that has the name.
        create: Creates the new one.

    Raises:
        docker.errors.APIError: the engine refuses it for another cause, or for good.
    """
    from docker.errors import APIError
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

    def is_taken(error: BaseException) -> bool:
        return isinstance(error, APIError) and error.status_code == HTTPStatus.CONFLICT

    # The engine reserves a name before it has made the container, which can't be removed until
    # then: hence again and again.
    Retrying(
        retry=retry_if_exception(is_taken),
        stop=stop_after_delay(_LATE_SECONDS),
        wait=wait_fixed(_POLL_SECONDS),
        before_sleep=lambda state: remove(),
        reraise=True,
    )(create)


def remove(api: Any, name: str) -> None:
    """Remove a container with its volumes, also one that ends by itself just now.

    Raises:
        docker.errors.APIError: it is gone (404), is being removed (409), or can't be removed.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

    flavor.kill(api, name)
    Retrying(
        retry=retry_if_exception(flavor.ends_meanwhile),
        stop=stop_after_delay(_LATE_SECONDS),
        wait=wait_fixed(_POLL_SECONDS),
        reraise=True,
    )(api.remove_container, name, force=True, v=True)


def uninterrupted(call: Callable[[], T]) -> T:
    """Finish `call` even when an exception, such as Ctrl-C, is raised here meanwhile.

    A request that the engine carries out after its client left would leave a container behind. So
    a Ctrl-C is raised once the request is through, when the container can be removed; a second one
    too: the executor's own exit would not wait for the call then, see `BackgroundStart`.
    """
    raised: BaseException | None = None
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(call)
        while not future.done():
            try:
                wait([future])
            except BaseException as error:
                raised = error
    if raised is not None:
        raise raised
    return future.result()


@dataclass(frozen=True)
class OneOff:
    """A container that runs one command, and is removed after it.

    Attributes:
        image: Its image.
        home: A home of its own in the run's directory, there as long as the container is: by it the
            reaper finds the container, should this process be killed.
        role: What it is for, as its label tells.
        command: The command, in place of all that the image would run.
        host_config: As docker-py's `create_host_config` takes it.
    """

    image: str
    home: Home
    role: str
    command: Sequence[str]
    host_config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name."""
        return self.home.label


@dataclass(frozen=True)
class Ended:
    """A container that has run its command, and is not removed yet.

    Attributes:
        code: The command's exit code.
    """

    code: int
    _api: Any
    _name: str

    def output(self, *, stdout: bool = True, stderr: bool = True) -> str:
        """Read what the command wrote."""
        written: bytes = self._api.logs(self._name, stdout=stdout, stderr=stderr)
        return written.decode(errors="replace")


@contextlib.contextmanager
def ended(engine: Engine, one_off: OneOff, *, timeout: float | None = None) -> Iterator[Ended]:
    """Run a container's command to its end; leaving the context removes the container.

    Args:
        engine: The outer engine.
        one_off: The container.
        timeout: Seconds that the command may take; without, as long as it does.

    Raises:
        docker.errors.APIError: the engine refuses the container.
        requests.exceptions.RequestException: it did not end in time.
    """
    api: Any = engine.client.api
    with _there(engine, one_off):
        _create(engine, one_off)
        api.start(one_off.name)
        # docker-py waits for ever unless it is told a time-out here too.
        code = api.wait(one_off.name, timeout=timeout)["StatusCode"]
        yield Ended(code, api, one_off.name)


def fed(engine: Engine, one_off: OneOff, chunks: Iterable[bytes]) -> tuple[str, str]:
    """Run a container's command on this input to its end; the container is removed then.

    Its stdin ends with this process, too.

    Args:
        engine: The outer engine.
        one_off: The container.
        chunks: The input, made as it is sent; an error in that kills the command before its input
            ends.

    Returns:
        Both outputs.

    Raises:
        docker.errors.APIError: the engine refuses the container.
        Exception: what making the input has raised.
    """
    with _there(engine, one_off):
        # Without a client that would, the engine removes it.
        _create(engine, one_off, stdin_open=True, auto_remove=True)
        return feed(engine.client.api, one_off.name, chunks)


@contextlib.contextmanager
def _there(engine: Engine, one_off: OneOff) -> Iterator[None]:
    """Make the home of a container; at the end neither is there."""
    from ..lifetime import directories

    home = one_off.home.path
    # The command, as in `pytest-dind cache ls`, is of no run, and has no reaper.
    is_of_a_run = home.parent.is_dir()
    if is_of_a_run:
        directories.make(home)
    try:
        if is_of_a_run:
            (home / layout.ENGINE).write_text(engine.url)
        yield
    finally:
        _remove(engine.client.api, one_off.name)
        directories.remove(home)


def feed(api: Any, name: str, chunks: Iterable[bytes]) -> tuple[str, str]:
    """Start a container whose stdin is open, and give it this input, to its end.

    Args:
        api: The API of the engine that it is on.
        name: Its name.
        chunks: The input, made as it is sent; an error in that removes the container before its
            input ends.

    Returns:
        Both outputs.

    Raises:
        docker.errors.APIError: the engine refuses to start it.
        Exception: what making the input has raised.
    """
    from .exec import Command, converse

    def guarded() -> Iterator[bytes]:
        try:
            yield from chunks
        except Exception:
            _remove(api, name)
            raise

    streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    raw = api.attach_socket(name, params=streams)
    api.start(name)
    output, errors = converse(raw, Command((), stdin=guarded()))
    return output.decode(errors="replace"), errors.decode(errors="replace")


def _create(
    engine: Engine, one_off: OneOff, *, stdin_open: bool = False, auto_remove: bool = False
) -> None:
    """Create a container for one command.

    Raises:
        docker.errors.APIError: the engine refuses it.
    """
    from docker.types import LogConfig

    api: Any = engine.client.api
    home = one_off.home
    # Another runtime than the engine's own has user namespaces of its own.
    users = {} if "runtime" in one_off.host_config else with_own_users(engine.info())
    uninterrupted(
        lambda: api.create_container(
            one_off.image,
            name=one_off.name,
            user=SUPERUSER,
            entrypoint=list(one_off.command),
            command=[],
            labels=labels.make(home.run, mode="", keep="never", home=home.path)
            | labels.of_container(engine.own_container_id)
            | {labels.ROLE: one_off.role},
            stdin_open=stdin_open,
            use_config_proxy=False,
            host_config=api.create_host_config(
                network_mode="none",
                # One that can be read, whichever the engine's default is.
                log_config=LogConfig(type=LogConfig.types.JSON),
                auto_remove=auto_remove,
                **users,
                **one_off.host_config,
            ),
        )
    )


def _remove(api: Any, name: str) -> None:
    """Remove a container, as far as the engine does it soon."""
    from docker.errors import APIError
    from requests.exceptions import ConnectionError as Broken
    from requests.exceptions import Timeout

    usual, api.timeout = api.timeout, _REMOVAL_SECONDS
    # docker-py turns a time-out in the middle of an answer into a ConnectionError.
    with contextlib.suppress(APIError, Timeout, Broken):
        flavor.kill(api, name)
        api.remove_container(name, force=True, v=True)
    api.timeout = usual
