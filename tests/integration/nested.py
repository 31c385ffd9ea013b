"""What tests ask a nested container."""

from __future__ import annotations

from typing import Any

from docker.models.containers import Container


def datagrams(container: Container) -> int:
    """How many UDP datagrams came to a container in which nobody listens: its kernel counts them.

    docker-py loses what a command prints when that comes together with the answer's headers
    (`_get_raw_response_socket` takes the socket below the buffer that has read both). Then this is
    0, and who waits asks again.
    """
    output: Any = container.exec_run(["grep", "^Udp:", "/proc/net/snmp"]).output
    if not output:
        return 0
    names, values = (line.split() for line in output.decode().splitlines())
    return int(values[names.index("NoPorts")])
