"""An engine for a bare machine, and the images and programs the tests need.

python tools/engine.py up        use the engine that answers, or install and start one
python tools/engine.py images    make sure of the images the tests use
python tools/engine.py programs  make sure of the programs the tests run
python tools/engine.py status    what answers, whose it is, what it has
python tools/engine.py down      stop the engine that `up` started, and no other
python tools/engine.py run --cgroup2 -- COMMAND
                                 run COMMAND on an engine with a cgroup v2 view
python tools/engine.py run --podman -- COMMAND
                                 run COMMAND on Podman, which is installed where it is missing
python tools/engine.py run --machine -- COMMAND
                                 run COMMAND in a virtual machine with systemd and cgroup v2
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

try:
    import _cgroup2
    import _daemon
    import _docker_binary
    import _images
    import _machine
    import _packages
    import _podman
    import _programs
    import docker
    from _connection import DEFAULT_HOST, address, find
    from _console import Problem, say
    from _locks import lock
except ModuleNotFoundError as error:
    if __name__ != "__main__" or "TOX_ENV_NAME" in os.environ:
        raise
    # As on a bare machine: what is needed is in an environment of the project's.
    import bootstrap

    bootstrap.say(
        f"this Python has no {error.name}: going on in the tox environment `engine`, "
        f"in the directory {bootstrap.ROOT}"
    )
    moved = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    moved.add_argument("--state-dir", type=Path)
    given, others = moved.parse_known_args()
    places = ["--state-dir", str(given.state_dir.absolute())] if given.state_dir else []
    bootstrap.main(["run", "-e", "engine", "--", *places, *others])


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; give the exit status."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, _end)
    places = _daemon.Places(options.state_dir)
    try:
        status: int = options.action(places, options)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("engine.py", description=__doc__, formatter_class=formatter)
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=_daemon.state_directory(),
        metavar="DIR",
        help="where the log, the pid and the lock of an engine of ours are (default: %(default)s)",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, action, text in (
        ("up", up, "make sure that an engine answers: use the one there, or install and start one"),
        ("images", images, f"make sure of {_images.DAEMON} and {_images.NESTED}"),
        (
            "programs",
            programs,
            f"make sure of {', '.join(one.file for one in _programs.PROGRAMS)}",
        ),
        ("status", status, "say what answers and whose it is; exit status 0 if something does"),
        ("down", down, "stop the engine that `up` started; leave any other alone"),
        ("run", run, "run a command on an engine of another kind; its status is ours"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(action=action)
        if action is images:
            which = command.add_mutually_exclusive_group()
            which.add_argument(
                "--rebuild", action="store_true", help="make the images anew, also if they exist"
            )
            which.add_argument(
                "--daemon",
                metavar="IMAGE",
                help=f"have {_images.DAEMON} be this image, such as docker:28-dind",
            )
            command.add_argument(
                "--versions",
                action="store_true",
                help=f"those of older releases of Docker too: {', '.join(_images.SUITES)}",
            )
            command.add_argument(
                "--built",
                action="store_true",
                help="those too whose daemons Go builds here, in minutes: "
                f"{', '.join(_docker_binary.RELEASES)}",
            )
        if action is programs:
            command.add_argument(
                "--directory",
                type=Path,
                help="where to put what this machine lacks (default: `programs` in --state-dir)",
            )
        if action is run:
            kind = command.add_mutually_exclusive_group(required=True)
            kind.add_argument(
                "--cgroup2",
                action="store_true",
                help="the view to give: on a machine with cgroup v1 a second dockerd has it, in "
                "namespaces of its own; on one with v2 the machine's engine does",
            )
            kind.add_argument(
                "--podman",
                action="store_true",
                help="Podman, rootful, in namespaces of its own, with nothing kept afterwards",
            )
            kind.add_argument(
                "--machine",
                nargs="?",
                const="docker",
                choices=[*_machine.ENGINES],
                help="a Debian in a virtual machine, on this engine in it (default: %(const)s); "
                "where that is rootless, the command is its user's",
            )
            command.add_argument(
                "--nodes",
                action="store_true",
                help="have the image of Kubernetes' nodes in that machine, too",
            )
            command.add_argument(
                "--keep-data",
                action="store_true",
                help="leave that dockerd's images in place for the next time",
            )
            command.add_argument("command", nargs="+", metavar="COMMAND", help="after a --")
    return parser.parse_args(arguments)


def up(places: _daemon.Places, _options: argparse.Namespace) -> int:
    """Make sure that an engine answers."""
    client = find()
    if client is None:
        _packages.require_installable()
        with lock(places.directory, "engine"):
            client = find() or _bring_up(places)
    say(f"engine {client.version()['Version']} answers at {address()}")
    return 0


def _bring_up(places: _daemon.Places) -> docker.DockerClient:
    if _daemon.program("dockerd") is None:
        _packages.install_engine()
        client = find()
        if client is not None:  # where systemd runs, the package has started it
            return client
    _daemon.start(places)
    client = find()
    if client is None:
        raise Problem(
            "dockerd was healthy and is gone", _daemon.last_lines(places.log), "run this again"
        )
    return client


def images(places: _daemon.Places, options: argparse.Namespace) -> int:
    """Make sure of the images."""
    client = require_engine()
    with lock(places.directory, "images"):
        if options.daemon:
            _images.take(client, options.daemon)
        others = [*(_images.SUITES if options.versions else ())]
        others += _docker_binary.RELEASES if options.built else []
        _images.ensure(client, rebuild=options.rebuild, others=others)
    return 0


def programs(places: _daemon.Places, options: argparse.Namespace) -> int:
    """Make sure of the programs."""
    with lock(places.directory, "programs"):
        _programs.ensure(options.directory or places.directory / "programs")
    return 0


def status(places: _daemon.Places, _options: argparse.Namespace) -> int:
    """Say what answers."""
    client = find()
    if client is None:
        say(f"no engine answers at {DEFAULT_HOST}")
        return 1
    answer = client.version()
    say(f"engine {answer['Version']} (API {answer['ApiVersion']}) at {address()}")
    say(f"started by us: {'yes' if 'dockerd' in _daemon.ours(places) else 'no'}")
    for name in _images.SOURCES:
        say(f"{name}: {'there' if _images.present(client, name) else 'missing'}")
    return 0


def down(places: _daemon.Places, _options: argparse.Namespace) -> int:
    """Stop what `up` started."""
    with lock(places.directory, "engine"):
        if _daemon.ours(places):
            _daemon.stop_ours(places)
            say("stopped the engine that `up` had started")
        else:
            say("no engine of ours runs; one that others started is left alone")
    with lock(places.directory, "cgroup2"):
        _cgroup2.clean(places.directory / "cgroup2")
    return 0


def run(places: _daemon.Places, options: argparse.Namespace) -> int:
    """Run a command on an engine with a cgroup v2 view, on Podman, or in a virtual machine."""
    if options.machine:
        return _machine.run(
            options.command,
            require_engine(),
            places.directory / "machine",
            options.machine,
            nodes=options.nodes,
        )
    machine = find()
    if options.podman:
        with lock(places.directory, "podman"):
            return _podman.run(options.command, machine, places.directory / "podman")
    if machine is not None and _cgroup2.is_seen_by(machine):
        say("the machine's engine is on cgroup v2: the command runs on that one")
        _cgroup2.become(options.command)
    with lock(places.directory, "cgroup2"):
        directory = places.directory / "cgroup2"
        return _cgroup2.run(options.command, machine, directory, keep=options.keep_data)


def require_engine() -> docker.DockerClient:
    """Connect to the engine, or say how to get one."""
    client = find()
    if client is None:
        raise Problem(
            "no engine answers",
            f"nothing at {DEFAULT_HOST}, and DOCKER_HOST is not set",
            "python tools/engine.py up",
        )
    return client


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
