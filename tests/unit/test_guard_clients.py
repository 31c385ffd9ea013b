"""What clients send, each in its own spelling: a guard judges what it does."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote_plus

import pytest

from pytest_dind.guard.http.proxy import bound
from pytest_dind.guard.http.upstream import Upstream
from pytest_dind.guard.objects import run_labels
from pytest_dind.guard.rules.policy import Policy
from pytest_dind.guard.server import Server
from pytest_dind.lifetime import labels
from pytest_dind.lifetime.layout import JOURNAL

_LABELS = run_labels.RunLabels(
    labels.make("run", mode="socket", keep="never", home=Path("/base/run/main"))
)
_SECONDS = 20
_OWN, _NET, _EXEC = "a" * 64, "1" * 64, "e" * 64
_NOTHING_THERE = "No such thing"
Answer: TypeAlias = "tuple[int, Any]"
Asked: TypeAlias = "list[tuple[str, Any]]"

_THEIRS = {"Id": "sha256:6", "RepoTags": ["theirs:latest"], "RepoDigests": [], "Config": {}}
_ANSWERS: Mapping[str, tuple[int, Any]] = {
    "GET /networks": (
        200,
        [{"Id": _NET, "Name": "my net", "Labels": _LABELS.for_role(run_labels.NETWORK)}],
    ),
    "GET /info": (200, {"DefaultRuntime": "usual", "LoggingDriver": "json-file", "Swarm": {}}),
    "GET /volumes/none": (404, {"message": "get none: no such volume"}),
    "GET /volumes/theirs": (200, {"Name": "theirs", "Labels": None}),
    "GET /images/theirs/json": (200, _THEIRS),
    "GET /images/theirs:latest/json": (200, _THEIRS),
    f"GET /containers/{_OWN}/json": (
        200,
        {"Id": _OWN, "Config": {"Labels": _LABELS.for_role(run_labels.CONTAINER)}, "Mounts": []},
    ),
    "POST /containers/create": (201, {"Id": _OWN}),
    "POST /networks/create": (201, {"Id": _NET}),
    "GET /images/json": (200, []),
}
"""What the engine answers; to all else that is named like an object, 404, and 200 to the rest."""


class Heard(NamedTuple):
    """What a client got, what the engine was asked for, call and body, and the guard's journal."""

    status: int
    message: str
    asked: Asked
    journal: list[str]

    def sent(self, call: str) -> Any:
        """The body of the one request to the engine that begins so."""
        (body,) = [body for asked, body in self.asked if asked.startswith(call)]
        return body


def heard(
    call: str,
    body: Any = None,
    answers: Mapping[str, Answer | Callable[[Asked], Answer]] | None = None,
    allow: Sequence[str] = (),
    guard: str = "own",
    upgrade: str = "",
) -> Heard:
    """Send a request to a guard that is in front of an engine with these answers, too."""
    known: dict[str, Any] = {**_ANSWERS, **(answers or {})}
    asked: Asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split("\r\n")[0].split(" ")
        path = "/" + target.split("/", 2)[2] if target.startswith("/v1.") else target
        lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
        raw = await reader.readexactly(int(lines.get("content-length", 0)))
        asked.append((f"{method} {path}", json.loads(raw) if raw[:1] in (b"{", b"[") else raw))
        missing = method == "GET" and path.endswith("/json")
        default = (404, {"message": _NOTHING_THERE}) if missing else (200, {})
        found = known.get(f"{method} {path.partition('?')[0]}", default)
        status, content = found(asked) if callable(found) else found
        answer = json.dumps(content).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(answer)))
        writer.write(answer)
        writer.close()

    async def play(directory: Path) -> bytes:
        behind = await asyncio.start_unix_server(serve, path=directory / "engine")
        policy = Policy(guard, frozenset(allow), ("/tmp",), "/e", "/s", "/base")
        engine = Upstream(str(directory / "engine"))
        server = Server(engine, _LABELS, policy, directory, lambda line: None)
        listener = await server.listen(bound(str(directory / "guard")))
        reader, writer = await asyncio.open_unix_connection(directory / "guard")
        raw = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        lines = f"{call} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        if upgrade:
            lines += f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n"
        writer.write(f"{lines}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        answer = await asyncio.wait_for(reader.read(), _SECONDS)
        writer.close()
        if server._serving:
            await asyncio.wait(server._serving, timeout=_SECONDS)
        listener.close()
        behind.close()
        return answer

    with tempfile.TemporaryDirectory(prefix="dt", dir="/tmp") as directory:
        answer = asyncio.run(play(Path(directory)))
        # Behind the line that tells when the guard began.
        _, *journal = (Path(directory) / JOURNAL).read_text().splitlines()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return Heard(int(head[9:12]), rest.decode(), asked, journal)


def test_push_of_docker_py() -> None:
    """It posts `{}`, without which engines up to 20.10 miss the login."""
    call = "POST /images/localhost:5000/new:1/push"

    assert heard(call, {}).sent(call) == {}
    assert heard(call).sent(call) == b""


def test_parameter_of_another_call() -> None:
    """A `stream`, as aiodocker's events ask for, is left out: that call does not have it."""
    assert heard("GET /events?stream=True").asked[-1] == ("GET /events", b"")
    assert heard("GET /events?checkpoint=x").status == 400


def test_parameter_that_stands_twice() -> None:
    """Equal values are one; of two Dockerfiles engines, too, take the first one's name."""
    assert heard("GET /volumes?filters={}&filters={}").status == 200
    assert heard("GET /containers/json?all=1&all=true").status == 400
    built = heard("POST /build?dockerfile=.dockerfile.1&dockerfile=FROM%20x", b"")
    assert "dockerfile=.dockerfile.1&" in built.asked[-1][0] + "&"
    assert "FROM" not in built.asked[-1][0]


def test_engine_that_selects_by_any_filter() -> None:
    """A list leaves others' volumes out; a prune, which would remove them, is not passed on."""
    ours = {"Name": "own", "Labels": _LABELS.for_role(run_labels.VOLUME)}
    volumes = [{"Name": "theirs", "Labels": None}, ours]
    answers = {"GET /volumes": (200, {"Volumes": volumes, "Warnings": None})}

    listed = heard("GET /volumes", None, answers)
    assert json.loads(listed.message) == {"Volumes": [ours], "Warnings": None}
    pruned = heard("POST /volumes/prune", None, answers)
    assert pruned.status == 501
    assert "to remove the test's own, name them" in pruned.message
    assert {call.partition("?")[0] for call, _ in pruned.asked} == {"GET /volumes"}


def test_tag_that_stands_twice() -> None:
    """A tag in the name and beside it is one, if they are equal."""
    pulled = heard("POST /images/create?fromImage=new:1&tag=1")
    assert pulled.status == 200
    assert heard("POST /images/create?fromImage=new:1&tag=2").status == 400
    assert heard("POST /images/create?fromImage=new:11&tag=1").status == 400


def test_key_in_another_case() -> None:
    """docker-py writes `CPURealtimePeriod`, as engines take it; what is checked is not so read."""
    host = {"CPURealtimePeriod": 5, "CPURealtimeRuntime": 6}
    made = heard("POST /containers/create", {"HostConfig": host})

    found = made.sent("POST /containers/create")["HostConfig"]
    assert (found["CpuRealtimePeriod"], found["CpuRealtimeRuntime"]) == (5, 6)
    assert not found.keys() & host.keys()
    refused: dict[str, Any]
    for refused in (
        {"CPURealtimePeriod": 5, "CpuRealtimePeriod": 6},
        {"cpuREALTIMEPeriod": 5, "CPURealtimePeriod": 6},
        {"PRIVILEGED": False},
        {"Bind\u017f": []},
        {"\u212aernelmemory": 1, "KernelMemory": 2},
    ):
        assert heard("POST /containers/create", {"HostConfig": refused}).status == 400


@pytest.mark.parametrize("guard", ["own", "label"])
def test_network_with_a_space(guard: str) -> None:
    """A network whose name has a space is found by it."""
    found = heard("GET /networks/my%20net", guard=guard)

    assert found.status == 200
    wanted = f"GET /networks/{_NET}" if guard == "own" else "GET /networks/my%20net"
    assert found.asked[-1][0] == wanted
    assert heard("GET /networks/our%20net").status == 404


def test_container_on_a_network_with_a_space() -> None:
    """It is connected by the network's id."""
    made = heard("POST /containers/create", {"HostConfig": {"NetworkMode": "my net"}})

    endpoints = made.sent("POST /containers/create")["NetworkingConfig"]["EndpointsConfig"]
    assert endpoints == {"my net": {"NetworkID": _NET}}


def test_forced_removal_of_no_volume() -> None:
    """By force it is no error, as for an engine; somebody else's volume still looks missing."""
    for call, status in (
        ("DELETE /volumes/none?force=1", 204),
        ("DELETE /volumes/none?force=0", 404),
        ("DELETE /volumes/none", 404),
        ("DELETE /volumes/theirs?force=True", 404),
    ):
        found = heard(call)
        assert found.status == status
        assert not [asked for asked, _ in found.asked if asked.startswith("DELETE")]


def test_link_to_what_is_not_there_yet() -> None:
    """On a network it is a further name, for whatever will be there; elsewhere it is refused."""
    links = {"my net": {"Links": ["later:alias"]}}
    made = heard("POST /containers/create", {"NetworkingConfig": {"EndpointsConfig": links}})

    found = made.sent("POST /containers/create")["NetworkingConfig"]["EndpointsConfig"]["my net"]
    assert found["Links"] == ["later:alias"]
    old = heard("POST /containers/create", {"HostConfig": {"Links": ["later:alias"]}})
    assert (old.status, "No such container: later" in old.message) == (404, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"Runtime": "runc"}, 201),
        ({"Runtime": "usual"}, 201),
        ({"HostConfig": {"Runtime": "usual"}}, 201),
        ({"Runtime": "odd"}, 403),
        ({"HostConfig": {"Runtime": "odd"}}, 403),
    ],
)
def test_default_runtime(body: dict[str, Any], status: int) -> None:
    """The engine's default runtime may be named, also where docker-py's older form has it."""
    found = heard("POST /containers/create", body)

    assert found.status == status
    assert ("--dind-guard-allow=runtime:odd" in found.message) == (status == 403)


def test_removal_of_the_hosts_image() -> None:
    """It is a conflict, with which `compose down --rmi all` goes on."""
    found = heard("DELETE /images/theirs")

    assert found.status == 409
    assert "which this run did not make" in found.message


@pytest.mark.parametrize(("allow", "status"), [((), 403), (("privileged",), 200)])
def test_buildx_without_its_api(allow: tuple[str, ...], status: int) -> None:
    """The client's error says why buildx can't build, and not what it did in its need."""
    pull = "POST /images/create?fromImage=moby/buildkit&tag=buildx-stable-1"
    found = heard(pull, allow=allow)

    assert found.status == status
    # Its container is looked for by a prune of the cache.
    missing = heard("POST /containers/buildx_buildkit_default/exec", {"Cmd": ["x"]}, allow=allow)
    assert missing.status == (403 if status == 403 else 404)
    for told in (found.message, missing.message):
        assert ("DOCKER_BUILDKIT=0" in told) == (status == 403)
        assert ("--dind-guard-allow=buildkit-grpc" in told) == (status == 403)


@pytest.mark.parametrize("guard", ["own", "label"])
def test_name_for_the_hosts_image(guard: str) -> None:
    """It is noted, to go in the end; one that an image of the host has is not, nor a moved one."""
    there = {"Id": "sha256:7", "RepoTags": ["taken:latest"], "RepoDigests": [], "Config": {}}
    answers = {"GET /images/taken:latest/json": (200, there)}

    assert heard("POST /images/theirs/tag?repo=new", guard=guard).journal == [
        "gave sha256:6 new:latest"
    ]
    assert heard("POST /images/theirs/tag?repo=theirs", guard=guard).journal == []
    assert heard("POST /images/theirs/tag?repo=taken", None, answers, guard=guard).journal == []


def test_leaving_no_swarm() -> None:
    """An engine that is in no swarm says so, whatever is allowed."""
    for allow in ((), ("swarm",)):
        found = heard("POST /swarm/leave?force=1", allow=allow)
        assert (found.status, "not part of a swarm" in found.message) == (503, True)


@pytest.mark.parametrize(("guard", "status"), [("own", 403), ("label", 200)])
def test_leaving_the_hosts_swarm(guard: str, status: int) -> None:
    """A swarm that this run did not join stays."""
    answers = {"GET /info": (200, {"Swarm": {"NodeID": "n"}})}
    assert heard("POST /swarm/leave?force=1", None, answers, ("swarm",), guard).status == status


@pytest.mark.parametrize(
    ("networks", "noted"),
    [
        ([], "swarm node docker_gwbridge"),
        ([{"Id": "1", "Name": "docker_gwbridge"}], "swarm node "),
    ],
)
def test_swarm_is_noted(networks: list[Any], noted: str) -> None:
    """The node that the engine became is noted, and the network that engines leave behind."""
    answers = {
        "GET /info": (200, {"Swarm": {"NodeID": "node"}}),
        "GET /networks": (200, networks),
    }
    found = heard("POST /swarm/init", {"ListenAddr": "127.0.0.1"}, answers, ["swarm"])

    assert found.sent("POST /swarm/init") == {"ListenAddr": "127.0.0.1"}
    assert [line.strip() for line in found.journal] == [noted.strip()]


def test_service_has_labels() -> None:
    """A service, its tasks' containers and their volumes have the run's labels."""
    mounts = [{"Type": "volume", "Source": "v", "Target": "/v"}, {"Type": "tmpfs", "Target": "/t"}]
    body = {
        "Name": "x",
        "Labels": {"mine": "1"},
        "TaskTemplate": {"ContainerSpec": {"Image": "i", "Mounts": mounts}},
    }
    found = heard("POST /services/create", body, allow=["swarm"]).sent("POST /services/create")

    assert found["Labels"] == {"mine": "1", **_LABELS.for_role(run_labels.SWARM)}
    container = found["TaskTemplate"]["ContainerSpec"]
    assert container["Labels"] == _LABELS.for_role(run_labels.CONTAINER)
    volume, other = container["Mounts"]
    assert volume["VolumeOptions"]["Labels"] == _LABELS.for_role(run_labels.VOLUME)
    assert other == mounts[1]
    for kind in ("secrets", "configs"):
        made = heard(f"POST /{kind}/create", {"Name": "s", "Data": ""}, guard="label")
        assert made.sent("POST")["Labels"] == _LABELS.for_role(run_labels.SWARM)


def test_streamed_prune() -> None:
    """From API 1.56 on a prune may be a stream, whose last line has the report."""
    report = {"ImagesDeleted": None, "SpaceReclaimed": 0}
    for version, wanted in (("1.55", report), ("1.56", {"aux": report})):
        found = heard(f"POST /v{version}/images/prune?stream=1")
        assert json.loads(found.message) == wanted


def test_end_of_a_network_that_another_guard_made() -> None:
    """A guard that was started anew tells of the end of what was there before it."""
    event = {"Type": "network", "Action": "destroy", "Actor": {"ID": _NET}}

    def networks(asked: Asked) -> Answer:
        """The network is gone once the events are asked for."""
        gone = any(call.startswith("GET /events") for call, _ in asked)
        return (200, []) if gone else _ANSWERS["GET /networks"]

    found = heard("GET /events", None, {"GET /networks": networks, "GET /events": (200, event)})

    assert json.dumps(event) in found.message


@pytest.mark.parametrize("status", [200, 500])
def test_load_that_takes_a_name(status: int) -> None:
    """A name of the host's goes back, also where the engine answers with an error."""

    def images(asked: Asked) -> Answer:
        loaded = any(call.startswith("POST /images/load") for call, _ in asked)
        return 200, [{"Id": "sha256:9" if loaded else "sha256:6", "RepoTags": ["theirs:latest"]}]

    answers: dict[str, Answer | Callable[[Asked], Answer]] = {
        "GET /images/json": images,
        "POST /images/load": (status, {"message": "failed"}),
        "GET /images/sha256:6/json": (200, _THEIRS),
        "GET /images/sha256:9/json": (200, {**_THEIRS, "Id": "sha256:9", "RepoTags": []}),
    }
    found = heard("POST /images/load", b"archive", answers)

    assert ("POST /images/sha256:6/tag?repo=theirs&tag=latest", b"") in found.asked


def test_guard_that_ends_amid_a_load(short_path: Path) -> None:
    """The names that the load has taken go back, although its answer is not waited for."""
    asked: list[str] = []
    begun = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        asked.append(target.partition("/")[2].partition("/")[2])
        if target.endswith("/images/load"):
            begun.set()
            await reader.read()
        there = "sha256:9" if begun.is_set() else "sha256:6"
        listed = [{"Id": there, "RepoTags": ["theirs:latest"]}]
        raw = json.dumps(listed if "/images/json" in target else _THEIRS).encode()
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)
        writer.close()

    async def play() -> None:
        behind = await asyncio.start_unix_server(serve, path=short_path / "engine")
        policy = Policy("own", frozenset(), (), "/e", "/s", "/base")
        engine = Upstream(str(short_path / "engine"))
        server = Server(engine, _LABELS, policy, short_path, lambda line: None)
        listener = await server.listen(bound(str(short_path / "guard")))
        _, writer = await asyncio.open_unix_connection(short_path / "guard")
        writer.write(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nbegun")
        await asyncio.wait_for(begun.wait(), _SECONDS)
        await server.drain(0.01)
        serving = [*server._serving, *server._making]
        for task in serving:
            task.cancel()
        await asyncio.wait(serving, timeout=_SECONDS)
        writer.close()
        listener.close()
        behind.close()

    asyncio.run(play())
    assert any(call.startswith("images/sha256:6/tag") for call in asked), asked


_RECORDED = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "requests.jsonl").read_text().splitlines()
]
"""What releases of clients sent through a guard, one request of each shape: the call, the body as
JSON or whether there is one that streams, and the status where the guard refused it itself. In it
`own` is the run's, `theirs:1` is an image of the host's, and ids are those of this module."""


def _everything_is_own() -> dict[str, Any]:
    """The answers of an engine on which all that the recorded requests name is the run's."""
    names = ["own", *(f"own:{tag}" for tag in "abckiort"), f"sha256:{'5' * 64}"]
    image = {
        "Id": f"sha256:{'5' * 64}",
        "RepoTags": ["own:c", "own:t"],
        "RepoDigests": [],
        "Config": {"Labels": _LABELS.for_role(run_labels.IMAGE)},
    }
    ours = _ANSWERS[f"GET /containers/{_OWN}/json"]
    volume = {"Name": "own", "Labels": _LABELS.for_role(run_labels.VOLUME)}
    network = {"Id": _NET, "Name": "own", "Labels": _LABELS.for_role(run_labels.NETWORK)}
    return {
        **{f"GET /images/{name}/json": (200, image) for name in names},
        "GET /images/own:latest/json": (200, image),
        **{f"DELETE /images/{name}": (200, []) for name in names},
        "GET /images/theirs:1/json": (200, {**_THEIRS, "RepoTags": ["theirs:1"]}),
        "GET /containers/own/json": ours,
        "GET /containers/json": (200, []),
        f"POST /containers/{_OWN}/exec": (201, {"Id": _EXEC}),
        f"GET /exec/{_EXEC}/json": (200, {"ContainerID": _OWN}),
        "GET /networks": (200, [network]),
        # None of them has two roles at once.
        "GET /volumes": lambda asked: (
            200,
            {"Volumes": [] if "role=none" in unquote_plus(asked[-1][0]) else [volume]},
        ),
        "GET /volumes/own": (200, volume),
        "GET /volumes/nosuch": (404, {"message": "get nosuch: no such volume"}),
        "POST /volumes/create": (201, volume),
        "GET /version": (200, {"ApiVersion": "1.41", "Os": "linux", "Arch": "amd64"}),
    }


@pytest.mark.parametrize("client", sorted({record["client"] for record in _RECORDED}))
def test_recorded_requests(client: str) -> None:
    """What a client's release sends is refused only where it was when it was recorded."""
    answers = _everything_is_own()
    wrong = []
    for record in _RECORDED:
        if record["client"] != client:
            continue
        body = b"" if record.get("streams") else record.get("body")
        found = heard(record["call"], body, answers, upgrade=record.get("upgrade", ""))
        # All else is the engine's own error.
        refuses = found.status >= 400 and _NOTHING_THERE not in found.message
        refused = found.status if refuses else None
        if refused != record.get("status"):
            wrong.append((record["call"], found.status, found.message))
    assert wrong == []
