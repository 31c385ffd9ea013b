"""The cases, a module for each kind; the order is that of a round."""

from . import ahead, at_once, dind, floor, fresh, peers, reset, reuse, socket, swarm, sysbox, unused

ALL = (
    floor.CASE,
    dind.CASE,
    dind.BARE,
    dind.ENVIRONMENT,
    dind.AUTHORITY,
    floor.LOADED,
    dind.LOADED,
    dind.DOUBLE,
    sysbox.FLOOR,
    sysbox.CASE,
    sysbox.LOADED,
    socket.CASE,
    *peers.CASES,
    at_once.FLOOR,
    at_once.CASE,
    swarm.FLOOR,
    swarm.CASE,
    reset.CASE,
    reuse.CASE,
    ahead.CASE,
    fresh.CASE,
    fresh.FLOOR,
    fresh.THROUGHPUT,
    unused.CASE,
)
