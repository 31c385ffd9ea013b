"""Making a daemon's container, also where another starter died of it, or a Ctrl-C comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from ..lifetime import labels
from ..lifetime.layout import Home
from ..settings import Settings
from ..store import seeding
from . import connection as ways
from . import spec, subnets
from .engine_errors import refused, unanswered

if TYPE_CHECKING:
    from ..engine.engine import Engine

T = TypeVar("T")

_LATE_SECONDS = 10
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Plan:
    """What a daemon's container is to be.

    Attributes:
        home: The daemon's home.
        settings: What is asked for.
        image: The image, as the engine's inspect has it.
        ticket: For the warm store.
        way: How the test process is to reach it.
        mode: The daemon's mode.
        host_config: What the mode's containers differ in.
    """

    home: Home
    settings: Settings
    image: Mapping[str, Any]
    ticket: seeding.Ticket
    way: ways.Connection
    mode: str
    host_config: Mapping[str, Any]


def create(engine: Engine, plan: Plan, *, remove: Callable[[], None]) -> None:
    """Create and start the container.

    Args:
        engine: The outer engine.
        plan: What it is to be.
        remove: Removes one of the same name.

    Raises:
        DindError: the engine does not do it.
    """
    from docker.errors import APIError
    from requests.exceptions import RequestException

    home, settings, way, ticket = plan.home, plan.settings, plan.way, plan.ticket
    api = engine.client.api
    ours = labels.make(
        home.run, mode=plan.mode, keep=settings.keep, home=home.path, cache=ticket.key
    )
    bindings = way.bindings()
    bindings |= {(port, protocol): (way.bind, port) for port, protocol in settings.ports()}
    try:
        layout = subnets.nested(api.networks())
        in_place_of_another(
            remove,
            api.create_container,
            settings.image,
            name=home.label,
            user=spec.SUPERUSER,
            labels=ours,
            **spec.process(home, way, plan.image, settings, ticket, layout),
            ports=list(bindings),
            host_config=api.create_host_config(
                mounts=[*way.mounts(), *spec.mounts(settings.image, ticket, ours)],
                # Without a supervisor nothing else keeps the log and the exit code.
                auto_remove=way.supervised,
                network_mode=way.network or None,
                port_bindings={
                    f"{port}/{protocol}": where for (port, protocol), where in bindings.items()
                },
                **spec.limits(settings),
                **plan.host_config,
            ),
        )
        api.start(home.label)
    except APIError as error:
        raise refused(home, settings, error.explanation or str(error)) from error
    except RequestException as error:
        raise unanswered(home, settings, error) from error


def in_place_of_another(
    remove: Callable[[], None], create: Callable[..., object], *args: Any, **kwargs: Any
) -> None:
    """Create a container; one that the engine still makes for a starter that is gone, goes."""
    from docker.errors import APIError

    deadline = time.monotonic() + _LATE_SECONDS
    while True:
        try:
            create(*args, **kwargs)
            return
        except APIError as error:
            # The engine reserves a name before it has made the container.
            if error.status_code != HTTPStatus.CONFLICT or time.monotonic() > deadline:
                raise
            remove()
            time.sleep(_POLL_SECONDS)


def uninterrupted(call: Callable[[], T]) -> T:
    """Finish `call` even when an exception, such as Ctrl-C, is raised here meanwhile.

    A request that the engine carries out while nobody waits for it would leave its container
    behind; a Ctrl-C is raised once the request is through, when there is something to remove. So
    is a second one: the executor's own exit would not wait for the call then, see `Ahead`.
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
