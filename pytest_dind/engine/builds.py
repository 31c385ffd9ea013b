"""Builds of Dockerfiles in a daemon, by its API: by BuildKit, or by the older builder."""

from __future__ import annotations

import json
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

from ..causes import explained
from ..errors import BuildFailed, SettingsError
from ..validation import is_text, shown
from . import build_context, build_trace, steps, streams, tars, versions
from .build_context import BuildContext

if TYPE_CHECKING:
    import docker

_LAST_LINES = 20
_NO_SESSION = "no active session"
_NETWORKS = ("", "default", "none", "host")

Secret = Union[str, "os.PathLike[str]", bytes]

# docker-py's names for them, next to the API's own.
_PARAMETERS = {
    "buildargs": "buildargs",
    "cache_from": "cachefrom",
    "extra_hosts": "extrahosts",
    "isolation": "isolation",
    "labels": "labels",
    "network_mode": "networkmode",
    "nocache": "nocache",
    "platform": "platform",
    "pull": "pull",
    "shmsize": "shmsize",
    "squash": "squash",
    "target": "target",
}
_OF_OLDER_BUILDER = ("container_limits", "isolation", "squash")
# What only the older builder has a use for: no container of it is left either way.
_WITHOUT_EFFECT = ("rm", "forcerm")
OPTIONS = sorted(
    {*_PARAMETERS, *_OF_OLDER_BUILDER, *_WITHOUT_EFFECT, "dockerfile", "secrets"},
)
"""The names of a build's options."""


@dataclass(frozen=True)
class Build:
    """A build that is asked for.

    Attributes:
        context: What it is made of.
        tag: The image's name.
        options: Further ones, by docker-py's names.
        secrets: The secrets that its steps may mount, each a file or its contents.
    """

    context: BuildContext
    tag: str
    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)

    @property
    def what(self) -> str:
        """What failed, for errors."""
        return f"The image {self.tag!r} cannot be built of {str(self.context.directory)!r}."

    @property
    def older(self) -> str:
        """What of it only the older builder can do; empty where BuildKit can do all."""
        network = self.options.get("network_mode") or ""
        if network not in _NETWORKS:
            return f"network_mode={network!r}"
        return ", ".join(name for name in _OF_OLDER_BUILDER if self.options.get(name))


def build_of(path: str | os.PathLike[str], tag: str, options: Mapping[str, Any]) -> Build:
    """Check the arguments of `Daemon.build`; gives the build that they make.

    Raises:
        SettingsError: an option has no such name, or a value that it can't have.
        BuildFailed: there is no Dockerfile, or no file of a secret.
    """
    unknown = sorted(options.keys() - set(OPTIONS))
    if unknown:
        raise SettingsError(
            f"build: {', '.join(unknown)} is no option of a build.",
            evidence=f"The options are {', '.join(OPTIONS)}.",
            remedy=["Write it as docker-py's images.build does.", "Leave it out."],
        )
    given = {name: value for name, value in options.items() if value is not None}
    secrets = given.pop("secrets", {})
    build = Build(build_context.find(path, given.pop("dockerfile", None)), tag, given, secrets)
    if not isinstance(secrets, Mapping) or not all(
        is_text(name) and isinstance(value, (str, os.PathLike, bytes))
        for name, value in secrets.items()
    ):
        raise SettingsError(
            f"build: secrets={shown(secrets)} is not a valid value.",
            evidence="A secret is the path of a file, or its contents as bytes.",
            remedy=['Give a dict: secrets={"token": b"..."} or {"token": Path("token.txt")}.'],
        )
    missing = {
        f"the secret {name!r}": os.fspath(value)
        for name, value in secrets.items()
        if not isinstance(value, bytes) and not _is_file(value)
    }
    if missing:
        raise BuildFailed(
            build.what,
            evidence="\n".join(f"There is no file {path}, {of}." for of, path in missing.items()),
            remedy=["Check the paths.", 'Give the contents instead: secrets={"token": b"..."}.'],
        )
    if not _is_file(build.context.dockerfile):
        raise BuildFailed(
            build.what,
            evidence=f"There is no file {build.context.dockerfile}.",
            remedy=["Give the directory of a Dockerfile.", "Name the file: dockerfile=NAME."],
        )
    if secrets and build.older:
        raise SettingsError(
            f"build: secrets can't be had together with {build.older}.",
            evidence="Secrets are BuildKit's, and that is the older builder's alone.",
            remedy=["Leave the one or the other out."],
        )
    return build


def _is_file(path: str | os.PathLike[str]) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - a Path may fail on its own
    except (OSError, ValueError):
        return False


class Output:
    """What a build has written: its last lines for an error, and for progress lines meanwhile.

    Args:
        build: The build.
        step: Tells of it while it goes on; an attribute, too.
    """

    def __init__(self, build: Build, step: steps.Step) -> None:
        self._build = build
        self.step = step
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._rest = b""

    def add(self, text: str) -> None:
        """Take lines."""
        self._lines.extend(filter(None, map(str.rstrip, text.splitlines())))
        if self._lines:
            self.step.say(self._lines[-1])

    def feed(self, data: bytes) -> None:
        """Take bytes, which may end amid a line."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        self.add(b"\n".join(whole).decode(errors="replace"))

    def failed(self, error: str = "") -> BuildFailed:
        """The error for a build that has failed."""
        self.feed(b"\n")
        self.add(error)
        failure = BuildFailed(
            self._build.what,
            evidence="The last lines of the build:\n" + "\n".join(self._lines),
            remedy=[
                "Mend the step that the lines end with.",
                "An image that FROM names and no registry has: load it into the daemon first.",
            ],
        )
        return explained(failure)


def by_api(daemon: docker.DockerClient, build: Build, step: steps.Step) -> str:
    """Build by the engine's API; gives the image's id.

    By BuildKit, but for what only the older builder can do. BuildKit asks its client for the
    credentials of a registry; where it would have to, the older builder has them with the request.

    Raises:
        BuildFailed: the directory can't be read, or a step fails.
    """
    version = daemon.api.api_version
    if build.older:
        return _by_older_builder(daemon, build, step, f"BuildKit can't do {build.older}")
    if not versions.BUILDKIT.holds(version):
        return _by_older_builder(daemon, build, step, f"the API {version} has no BuildKit")
    try:
        return _ask(daemon, build, Output(build, step), buildkit=True)
    except BuildFailed as error:
        if _NO_SESSION not in error.evidence:
            raise
    why = "BuildKit would ask for a registry's credentials, which only buildx gives"
    return _by_older_builder(daemon, build, step, why)


def _by_older_builder(daemon: docker.DockerClient, build: Build, step: steps.Step, why: str) -> str:
    try:
        return _ask(daemon, build, Output(build, step), buildkit=False)
    except BuildFailed as error:
        raise BuildFailed(
            error.what,
            evidence=f"{error.evidence}\nIt was built by the older builder: {why}.",
            remedy=[
                *error.remedy,
                "For what takes BuildKit (RUN --mount, heredocs) have buildx in the daemon's "
                "image, as docker:dind has it, or on this machine (docker-buildx).",
            ],
        ) from error


def _ask(daemon: docker.DockerClient, build: Build, output: Output, *, buildkit: bool) -> str:
    api: Any = daemon.api
    image, trace = "", build_trace.Trace()
    try:
        for event in streams.read(lambda: _events(api, build, buildkit=buildkit)):
            output.step.tick()
            aux = event.get("aux", {})
            if event.get("id") == build_trace.ID:
                output.add("\n".join(trace.lines(str(aux))))
                continue
            image = aux.get("ID", image)
            output.add(str(event.get("stream") or event.get("status") or ""))
    # An OSError: of the directory, or a file of it.
    except (streams.Failed, tars.Failed, OSError) as error:
        raise output.failed(str(error)) from error
    return image or str(api.inspect_image(build.tag)["Id"])


def _events(api: Any, build: Build, *, buildkit: bool) -> Iterator[dict[str, Any]]:
    """The events of a build. docker-py's own call would put the context into a file first."""
    dockerfile, archive = build.context.archive()
    parameters = {
        _PARAMETERS[name]: value for name, value in build.options.items() if name in _PARAMETERS
    }
    hosts = parameters.get("extrahosts")
    if isinstance(hosts, Mapping):
        parameters["extrahosts"] = [f"{host}:{address}" for host, address in hosts.items()]
    for name in ("buildargs", "labels", "cachefrom"):
        if parameters.get(name):
            parameters[name] = json.dumps(parameters[name])
    headers = {"Content-Type": "application/tar"}
    api._set_auth_headers(headers)
    answer = api._post(
        api._url("/build"),
        data=archive,
        params={
            "t": build.tag,
            "dockerfile": dockerfile,
            "rm": build.options.get("rm", True),
            "forcerm": build.options.get("forcerm", True),
            **({"version": "2"} if buildkit else {}),
            **build.options.get("container_limits", {}),
            **parameters,
        },
        headers=headers,
        stream=True,
    )
    with closing(answer):
        yield from api._stream_helper(answer, decode=True)
