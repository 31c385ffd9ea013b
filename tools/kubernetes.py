"""The image of the tests' Kubernetes nodes, in this machine's engine.

python tools/kubernetes.py --directory DIR    make sure of it; DIR keeps the binary of Kubernetes

It is made of Debian's packages and of a binary that this machine's Go builds from the modules of
Kubernetes, CoreDNS and etcd. The first build takes a quarter of an hour; after that only what has
changed is made anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import _daemon
import _inputs
import _node_binary
import _node_image
import engine
from _console import Problem, say
from _locks import lock


def main(arguments: list[str] | None = None) -> int:
    """Make sure of the image; give the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "kubernetes.py", description=__doc__, formatter_class=formatter
    )
    places = _daemon.Places(_daemon.state_directory())
    parser.add_argument(
        "--directory",
        type=Path,
        default=places.directory / "kubernetes",
        metavar="DIR",
        help="where the binary is kept (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        with lock(places.directory, "kubernetes"):
            ensure(options.directory)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def ensure(directory: Path) -> None:
    """Make the image, where the engine does not have it or has it of other inputs.

    Raises:
        Problem: it can't be made here.
    """
    client = engine.require_engine()
    architecture = client.version()["Arch"]
    key = _inputs.key(_node_image.SOURCE, architecture, *_node_image.UNNEEDED)
    if _node_image.is_made_of(client, _node_image.NODE, key):
        say(f"{_node_image.NODE}: there")
        return
    # What a machine may lack first, and what takes longest.
    binary = _node_binary.ensure(directory, architecture)
    _node_image.ensure_packages(client)
    _node_image.assemble(client, binary, key)
    say(f"{_node_image.NODE}: made")


if __name__ == "__main__":
    sys.exit(main())
