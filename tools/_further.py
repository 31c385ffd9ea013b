"""Engines of other kinds than the machine's, each for as long as a block, and ways to one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import _cgroup2
import _daemon
import _images
import _machine
import _podman
import _roots
import docker
from _connection import address, client_for
from _console import Problem, step

ROOT = Path(__file__).parents[1]
PARENT = "pytest-dind-further"
# A user who owns nothing, and users that nobody has; as files of the engine's namespaces alone.
USER, GROUP = "nobody", "nogroup"
MAPPED = f"{USER}:300000:65536\n"
ROOTLESS = "/usr/share/docker.io/contrib/dockerd-rootless.sh"
# What that script runs, besides Docker itself.
ROOTLESS_PACKAGES = ("iproute2", "rootlesskit", "slirp4netns", "uidmap")

Call = Callable[[Sequence[str]], str]
"""Runs a command of Python's, `-m` and what follows, and gives what it prints."""


@dataclass(frozen=True)
class Reached:
    """An engine that is ready.

    Attributes:
        host: How the plugin is told of it.
        call: Runs Python where the tests are.
        way: What the table says of the way to it, after its name; nothing for its own socket.
    """

    host: str
    call: Call
    way: str = ""


Row = Callable[[Path, docker.DockerClient], contextlib.AbstractContextManager[Reached]]
"""Makes an engine in a directory; the machine's own has the images."""


def here(prefix: Sequence[str] = (), **env: str) -> Call:
    """Run Python on this machine, in another process' namespaces perhaps."""

    def call(words: Sequence[str]) -> str:
        # The status tells that something does not work, which is the answer.
        run = subprocess.run(
            [*prefix, sys.executable, *words],
            cwd=ROOT,
            env={**_daemon.environment(), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=False,
            text=True,
        )
        return run.stdout

    return call


@contextlib.contextmanager
def machine(_directory: Path, _machine: docker.DockerClient) -> Iterator[Reached]:
    """The machine's engine."""
    yield Reached(address(), here())


def dockerd(
    *arguments: str,
    image: str = "",
    suite: str = "",
    cgroup2: bool = False,
    binds: Mapping[str, str] | None = None,
    user: str = "",
    delegated: bool = False,
) -> Row:
    """Make a row of a second dockerd.

    Args:
        arguments: What dockerd is told.
        image: The image whose dockerd it is; this machine's without.
        suite: The suite of Debian whose dockerd it is, instead.
        cgroup2: Whether it has a view of cgroup v2.
        binds: Texts of files that are its own.
        user: Who runs it, in user namespaces; needs a suite.
        delegated: Whether the control group that it is in is that user's.
    """

    @contextlib.contextmanager
    def engine(directory: Path, machine: docker.DockerClient) -> Iterator[Reached]:
        data, runtime = directory / "data", directory / "run"
        places = _daemon.Places(directory, f"unix://{directory}/docker.sock", runtime)
        unpacked, home = directory / "root", directory / "home"
        remove = [data, runtime, unpacked, home]
        _cgroup2.clean(*remove)  # what a killed run has left
        command = _daemon.prepare(places)
        if image:
            extract(machine, image, unpacked)
        root = docker_root(suite, directory.parent) if suite else image and unpacked
        if root:
            command[0] = "dockerd"
        command += [f"--data-root={data}", *arguments]
        options = ["--cgroup2"] if cgroup2 else []
        for number, (target, text) in enumerate((binds or {}).items()):
            file = directory / f"file-{number}"
            file.write_text(text)
            options += ["--bind", str(file), target]
        if root:
            options += ["--root", str(root)]
            # What tests bind has the same path in there.
            for shared in (str(directory), tempfile.gettempdir()):
                options += ["--bind", shared, shared]
        if user:
            for path in (directory, data, runtime, home):
                path.mkdir(exist_ok=True)
                shutil.chown(path, user)
            variables = [f"HOME={home}", f"XDG_RUNTIME_DIR={runtime}"]
            command = [*as_user(user, *variables), ROOTLESS, *command[1:]]
            options += ["--bind", str(tunnel(directory)), "/dev/net/tun"]
            options += ["--delegate", user] if delegated else []
        else:
            command += [f"--cgroup-parent=/{PARENT}", "--exec-opt=native.cgroupdriver=cgroupfs"]
        with _cgroup2.started("dockerd", command, PARENT, places, remove, options) as first:
            ways = ["in a control group of its user's"] if delegated else []
            ways += ["tests of another user"] if user else []
            prefix = ["nsenter", f"--target={first}", "--net"]
            yield from ready(places, machine, prefix, ", ".join(ways))

    return engine


def ready(
    places: _daemon.Places, machine: docker.DockerClient, prefix: Sequence[str], way: str = ""
) -> Iterator[Reached]:
    """Have the images in an engine of ours; remove its containers afterwards."""
    client = client_for(places.host)
    try:
        _images.copy(machine, client)
        yield Reached(places.host, here(prefix), way)
    finally:
        _cgroup2.remove_containers(client)  # else it gives each ten seconds to end
        client.close()


def docker_root(suite: str, directory: Path) -> Path:
    """Give a root directory with a suite's Docker in it, which may run without root."""
    packages = (*_roots.daemon_packages(suite), *ROOTLESS_PACKAGES)
    return _roots.kept(suite, directory / "docker-roots", packages, "Docker")


def as_user(user: str, *variables: str) -> list[str]:
    """Give the command that runs another as a user, with these variables."""
    become = ["setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups"]
    return [*become, "env", f"PATH={_daemon.search_path()}", *variables]


def tunnel(directory: Path) -> Path:
    """Make the device of slirp4netns, which a machine may have for root alone."""
    path = directory / "tun"
    path.unlink(missing_ok=True)
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(10, 200))
    path.chmod(0o666)
    return path


def extract(machine: docker.DockerClient, image: str, root: Path) -> None:
    """Unpack an image's files."""
    _images.ensure(machine, others=[image])
    with step(f"unpacking {image}"):
        root.mkdir()
        api: Any = machine.api
        made = api.create_container(image, ["true"])["Id"]
        try:
            tar = subprocess.Popen(
                ["tar", "--extract", f"--directory={root}"], stdin=subprocess.PIPE
            )
            assert tar.stdin is not None
            for chunk in api.export(made):
                tar.stdin.write(chunk)
            tar.stdin.close()
            tar.wait()
        finally:
            api.remove_container(made, v=True)


@contextlib.contextmanager
def podman(directory: Path, machine: docker.DockerClient) -> Iterator[Reached]:
    """Podman's service, as root."""
    if _daemon.program("podman") is None:
        _podman.install()
    with _podman.service(directory) as (places, pid):
        prefix = ["nsenter", f"--target={pid}", "--mount", "--net", "--pid"]
        yield from ready(places, machine, prefix)


def newest_podman(user: str = "") -> Row:
    """Make a row of the newest Podman that Debian has.

    Args:
        user: Who runs it, in user namespaces, with control groups that are delegated to him.
    """

    @contextlib.contextmanager
    def engine(directory: Path, machine: docker.DockerClient) -> Iterator[Reached]:
        roots = directory.parent / "podman-roots"
        root = _roots.kept(_roots.SUITES[0], roots, _podman.ROOT_PACKAGES, "Podman")
        options = ["--root", str(root)]
        # What tests bind has the same path in there.
        for shared in (str(directory), tempfile.gettempdir()):
            options += ["--bind", shared, shared]
        command: list[str] = []
        if user:
            home = directory / "user"
            home.mkdir(exist_ok=True)
            for path in (directory, home):
                shutil.chown(path, user)
            for number, (target, text) in enumerate(SUBIDS.items()):
                file = directory / f"file-{number}"
                file.write_text(text)
                options += ["--bind", str(file), target]
            options += ["--bind", str(tunnel(directory)), "/dev/net/tun", "--delegate", user]
            command = as_user(user, f"HOME={home}", f"XDG_RUNTIME_DIR={home}")
        with _podman.service(directory, options, command) as (places, pid):
            way = "tests of another user" if user else ""
            yield from ready(places, machine, ["nsenter", f"--target={pid}", "--net"], way)

    return engine


def with_systemd(engine: str) -> Row:
    """Make a row of an engine in a machine of its own, where its user's systemd starts it.

    Args:
        engine: Which one, of those that the machine has.
    """

    @contextlib.contextmanager
    def reached(directory: Path, machine: docker.DockerClient) -> Iterator[Reached]:
        def call(words: Sequence[str]) -> str:
            output = BytesIO()
            kept = directory.parent / "machine"
            # The status tells that something does not work, which is the answer.
            _machine.run(["python", *words], machine, kept, engine, output)
            return output.getvalue().decode()

        ways = ["with systemd"]
        ways += ["tests of its user"] if engine.endswith("-rootless") else []
        yield Reached(_machine.ENGINES[engine], call, ", ".join(ways))

    return reached


@contextlib.contextmanager
def own(directory: Path, _machine: docker.DockerClient) -> Iterator[Reached]:
    """A daemon of the plugin's own, with the images."""
    name = f"conformance-{os.getpid()}"
    test, host = directory / "test_it.py", directory / "host"
    directory.mkdir(parents=True, exist_ok=True)
    test.write_text(f"def test_it(dind_daemon): open({str(host)!r}, 'w').write(dind_daemon.host)\n")
    host.unlink(missing_ok=True)
    run = here()
    try:
        output = run(
            [
                *("-m", "pytest", "-q", f"--rootdir={directory}", str(test)),
                *("-p", "no:cacheprovider", "--dind-mode=dind", f"--dind-reuse={name}"),
                *(f"--dind-image={_images.DAEMON}", f"--dind-load={_images.DAEMON}"),
                f"--dind-load={_images.NESTED}",
            ]
        )
        if not host.exists():
            raise Problem("a daemon of the plugin's did not start", output, "look above")
        yield Reached(host.read_text(), run, "a daemon of this plugin")
    finally:
        run(["-m", "pytest_dind", "rm", name])


@contextlib.contextmanager
def elsewhere(machine: docker.DockerClient) -> Iterator[Any]:
    """Another machine with an engine on it, as the tests have it."""
    sys.path[:0] = [str(ROOT)]
    from pytest_dind.engine.engine import Engine
    from tests.integration.other import other_host

    with contextlib.closing(Engine(address())) as engine, other_host(engine) as other:
        yield other


@contextlib.contextmanager
def tls(_directory: Path, machine: docker.DockerClient) -> Iterator[Reached]:
    """An engine on another machine, over TLS."""
    with elsewhere(machine) as other:
        yield Reached(other.url, here(**other.env), "over TLS")


@contextlib.contextmanager
def ssh(_directory: Path, machine: docker.DockerClient) -> Iterator[Reached]:
    """An engine on another machine, by ssh."""
    with elsewhere(machine) as other, tempfile.TemporaryDirectory() as keys:
        from tests.integration.by_ssh import Ssh

        reached = Ssh(other, Path(keys))
        try:
            reached.configure()
            yield Reached(reached.url, here(PATH=reached.search_path), "over ssh")
        finally:
            reached.end()


@contextlib.contextmanager
def contained(_directory: Path, machine: docker.DockerClient) -> Iterator[Reached]:
    """The machine's engine, with the tests in a container that has its socket."""
    socket = re.sub("^unix://", "", address())
    roots = {sys.base_prefix, sys.prefix, str(ROOT)}
    api: Any = machine.api
    made = api.create_container(
        _images.DAEMON,
        entrypoint=["sleep", "3600"],
        host_config=api.create_host_config(
            init=True,
            binds=[*(f"{root}:{root}:ro" for root in sorted(roots)), f"{socket}:{socket}"],
        ),
    )["Id"]

    def call(words: Sequence[str]) -> str:
        variables = {"PYTHONDONTWRITEBYTECODE": "1"}
        command = api.exec_create(
            made, [sys.executable, *words], workdir=str(ROOT), environment=variables
        )
        printed, told = api.exec_start(command["Id"], demux=True)
        sys.stderr.write((told or b"").decode())
        return (printed or b"").decode()

    try:
        api.start(made)
        yield Reached(f"unix://{socket}", call, "tests in a container with its socket")
    finally:
        api.remove_container(made, force=True, v=True)


SUBIDS = {"/etc/subuid": MAPPED, "/etc/subgid": MAPPED}
ROWS: dict[str, Row] = {
    "machine": machine,
    "cgroup2": dockerd(cgroup2=True),
    "userns-remap": dockerd(f"--userns-remap={USER}:{GROUP}", binds=SUBIDS),
    "rootless": dockerd(suite="bookworm", user=USER, binds=SUBIDS),
    "rootless-newest": dockerd(suite="sid", user=USER, binds=SUBIDS, cgroup2=True),
    "rootless-delegated": dockerd(
        suite="sid", user=USER, binds=SUBIDS, cgroup2=True, delegated=True
    ),
    "docker-26": dockerd(image="pytest-dind/daemon:26.1"),
    "docker-28": dockerd(image=_images.DAEMON),
    "containerd-store": dockerd("--feature=containerd-snapshotter=true", image=_images.DAEMON),
    "docker-29": dockerd(image="pytest-dind/daemon:29"),
    "own": own,
    "tls": tls,
    "ssh": ssh,
    "contained": contained,
    "podman": podman,
    "podman-newest": newest_podman(),
    "podman-rootless": newest_podman(user=USER),
    **{f"systemd-{engine}": with_systemd(engine) for engine in _machine.ENGINES},
}
"""The rows of the table, by the names that the command line has for them."""
