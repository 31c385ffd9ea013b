"""An ssh server of the tests' own: `python sshd.py DIRECTORY ADDRESS`.

It makes the keys of both sides in the directory, writes its port there, and serves until it is
killed: unix sockets, to whoever has the client's key, and one command, which ends with its stdin.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import asyncssh

CLIENT, HOST, PORT = "client", "host", "port"


class _Server(asyncssh.SSHServer):  # type: ignore[misc, unused-ignore]
    def unix_connection_requested(self, dest_path: str) -> bool:
        """Lead to any unix socket of this machine."""
        return True


async def _cat(process: Any) -> None:
    await process.stdin.read()
    process.exit(0)


async def _serve(directory: Path, address: str) -> None:
    for name in (CLIENT, HOST):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(directory / name)
        (directory / name).chmod(0o600)
        key.write_public_key(directory / f"{name}.pub")
    server = await asyncssh.create_server(
        _Server,
        address,
        0,
        server_host_keys=[str(directory / HOST)],
        authorized_client_keys=str(directory / f"{CLIENT}.pub"),
        process_factory=_cat,
        encoding=None,
    )
    new = directory / f"{PORT}.new"
    new.write_text(str(server.get_port()))
    new.replace(directory / PORT)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), sys.argv[2]))
