"""How an image is built in a daemon: by which buildx, or by the engine's API."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from ..allowances import BUILDKIT
from ..backends import records
from ..backends.protocol import Record
from ..backends.registry import isolates
from ..engine import builds, steps, tars
from ..engine.builds import Build, Output
from ..engine.exec import Command
from ..errors import BuildFailed, SettingsError
from ..guard.rules.policy import OWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

# The places where the docker CLI looks for plugins, each with a directory cli-plugins.
_IN_CONTAINER = """
secrets=$1
shift
trap '[ -z "$secrets" ] || rm -rf "$secrets"' EXIT
for place in "${DOCKER_CONFIG:-$HOME/.docker}" /usr/local/lib/docker /usr/local/libexec/docker \
    /usr/lib/docker /usr/libexec/docker; do
    if [ -x "$place/cli-plugins/docker-buildx" ]; then
        docker buildx "$@"
        exit
    fi
done
exit 97
"""
_NONE_THERE = 97
_PLAIN = {"NO_COLOR": "1"}
_KEEP_SECRETS = 'umask 077 && mkdir "$1" && exec tar -xf - -C "$1"'

# The daemons, by their ids, in whose containers no buildx was found.
_without: set[str] = set()


class _Run(Protocol):
    """Runs a command in the daemon's container."""

    def __call__(self, command: Command) -> subprocess.CompletedProcess[Any]:
        """Run it; gives its end."""


@dataclass(frozen=True)
class Builder:
    """Builds images in one daemon.

    Attributes:
        record: The daemon's record.
        run: Runs a command in its container.
        environment: Gives the environment in which tools of this machine find it.
        step: Tells of the build while it goes on.
    """

    record: Record
    run: _Run
    environment: Callable[[], Mapping[str, str]]
    step: steps.Step

    def build(self, client: docker.DockerClient, build: Build) -> str:
        """Build an image; gives its id.

        Raises:
            BuildFailed: a step fails.
            SettingsError: its secrets can't be had here.
        """
        if build.older or (self._is_guarded() and not build.secrets):
            return builds.by_api(client, build, self.step)
        if self._by_buildx(build):
            api: Any = client.api
            return str(api.inspect_image(build.tag)["Id"])
        if build.secrets:
            raise SettingsError(
                f"build: the secrets of {build.tag!r} can't be handed over.",
                evidence="They take buildx, and neither the daemon's image has it nor this "
                "machine's docker CLI.",
                remedy=[
                    "Use an image that has it, as docker:dind does: --dind-image IMAGE.",
                    "Install the CLI's plugin on this machine (docker-buildx).",
                ],
            )
        return builds.by_api(client, build, self.step)

    def _is_guarded(self) -> bool:
        """Whether the daemon is the machine's engine behind a guard: what buildx builds stays."""
        return not isolates(self.record.mode)

    def _by_buildx(self, build: Build) -> bool:
        """Build by the buildx of the daemon's image or this machine; whether there is one.

        Raises:
            BuildFailed: a step fails.
            SettingsError: the guard refuses buildx.
        """
        if self._is_guarded():
            self._demand_buildkit(build)
        elif self.record.id not in _without:
            if self._in_container(build):
                return True
            _without.add(self.record.id)
        return self._on_machine(build)

    def _demand_buildkit(self, build: Build) -> None:
        found = records.read(self.record.home)
        if found is None or found[1].guard != OWN or BUILDKIT in found[1].guard_allow:
            return
        raise SettingsError(
            f"build: the secrets of {build.tag!r} can't be handed over in mode socket.",
            evidence="They take buildx, which builds by BuildKit's own API; the guard refuses it.",
            remedy=[
                f"Allow it: --dind-guard-allow={BUILDKIT}. What it builds stays.",
                "Use a mode with a daemon of its own: --dind-mode=auto.",
            ],
        )

    def _in_container(self, build: Build) -> bool:
        from ..engine import credentials

        output = Output(build, self.step)
        place = f"/run/pytest-dind-secrets-{uuid4().hex}" if build.secrets else ""
        try:
            if place:
                self._copy_secrets(build, place)
            dockerfile, archive = build.context.archive()
            secrets = {name: f"{place}/{index}" for index, name in enumerate(build.secrets)}
            words = _words(build, dockerfile, secrets)
            command = ["sh", "-c", _IN_CONTAINER, "sh", place, *words, "-"]
            done = self.run(
                Command(
                    command,
                    stdin=archive,
                    stdout=output.feed,
                    stderr=output.feed,
                    credentials=credentials.as_config(),
                    tick=self.step.tick,
                )
            )
        except (tars.Failed, OSError) as error:
            raise output.failed(str(error)) from error
        if done.returncode == _NONE_THERE:
            return False
        if done.returncode:
            raise output.failed()
        return True

    def _copy_secrets(self, build: Build, place: str) -> None:
        entries = [
            tars.Entry(str(index), value if isinstance(value, bytes) else Path(value).read_bytes())
            for index, value in enumerate(build.secrets.values())
        ]
        command = ["sh", "-c", _KEEP_SECRETS, "sh", place]
        done = self.run(Command(command, stdin=tars.pack(entries)))
        if done.returncode:
            raise BuildFailed(
                build.what,
                evidence="Its secrets could not be put into the daemon's container:\n"
                + (done.stdout + done.stderr).decode(errors="replace"),
                remedy=["Check that the daemon's image has tar, and its container room in /run."],
            )

    def _on_machine(self, build: Build) -> bool:
        environment = dict(self.environment())
        program = shutil.which("docker", path=environment.get("PATH"))
        # What else of the environment matters is the same for all daemons.
        if program is None or not _has_buildx(program, environment.get("DOCKER_CONFIG", "")):
            return False
        output = Output(build, self.step)
        with _files(build) as secrets:
            words = _words(build, str(build.context.dockerfile), secrets)
            done = subprocess.Popen(
                [program, "buildx", *words, str(build.context.directory)],
                env=environment | _PLAIN,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            with done:
                assert done.stdout is not None
                for line in done.stdout:
                    output.feed(line)
                    self.step.tick()
        if done.returncode:
            raise output.failed()
        return True


@functools.cache
def _has_buildx(program: str, config: str) -> bool:
    return subprocess.run([program, "buildx", "version"], capture_output=True).returncode == 0


@contextmanager
def _files(build: Build) -> Iterator[dict[str, str]]:
    """The secrets as files of this machine; those that are not are, while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="pytest-dind-") as place:
        found = {}
        for index, (name, value) in enumerate(build.secrets.items()):
            if isinstance(value, bytes):
                file = Path(place, str(index))
                file.write_bytes(value)
                found[name] = str(file)
            else:
                found[name] = str(Path(value).absolute())
        yield found


def _words(build: Build, dockerfile: str, secrets: Mapping[str, str]) -> list[str]:
    """The arguments of buildx.

    Args:
        build: The build.
        dockerfile: The Dockerfile's path.
        secrets: The files of its secrets.
    """
    options = build.options
    # A builder that the user has chosen is another engine's.
    words = ["build", "--builder=default", "--progress=plain", f"--tag={build.tag}"]
    words += [f"--file={dockerfile}"]
    words += [f"--secret=id={name},src={path}" for name, path in secrets.items()]
    for name, value in (options.get("buildargs") or {}).items():
        words.append(f"--build-arg={name}" if value is None else f"--build-arg={name}={value}")
    words += [f"--label={name}={value}" for name, value in _pairs(options.get("labels"))]
    words += [f"--add-host={name}:{value}" for name, value in _pairs(options.get("extra_hosts"))]
    words += [f"--cache-from={image}" for image in options.get("cache_from") or []]
    words += [f"--{flag}" for name, flag in _SWITCHES.items() if options.get(name)]
    return words + [
        f"--{flag}={options[name]}" for name, flag in _VALUES.items() if options.get(name)
    ]


_SWITCHES = {"nocache": "no-cache", "pull": "pull"}
_VALUES = {
    "network_mode": "network",
    "platform": "platform",
    "shmsize": "shm-size",
    "target": "target",
}


def _pairs(given: Any) -> Iterator[tuple[str, str]]:
    """The pairs of a dict; docker-py takes a list of names, too, which have no values then."""
    yield from given.items() if isinstance(given, Mapping) else ((name, "") for name in given or ())
