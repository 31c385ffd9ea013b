"""A guard on a socket, in front of an engine that says what the test wants: who hears what."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.guard import process
from pytest_dind.guard.config import GuardConfig
from pytest_dind.guard.http.proxy import bound
from pytest_dind.guard.http.upstream import Upstream
from pytest_dind.guard.objects import run_labels
from pytest_dind.guard.rules.policy import Policy
from pytest_dind.guard.server import Server
from pytest_dind.lifetime import labels

_HOME = "/base/run/main"
_LABELS = run_labels.RunLabels(labels.make("run", mode="socket", keep="never", home=Path(_HOME)))
_OWN = "a" * 64
_SECONDS = 20
_BIG = 32 * 1024 * 1024

_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]


def _answer(status: int, content: Any) -> bytes:
    raw = json.dumps(content).encode()
    return (
        b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        % (
            status,
            len(raw),
        )
        + raw
    )


_INSPECTED = _answer(200, {"Id": _OWN, "Config": {"Labels": _LABELS.for_role("container")}})


def _play(serve: _Serve, client: _Client, *allow: str, guard: str = "own") -> Any:
    """What the client returns, on a guard in front of an engine that serves so."""

    async def play(directory: Path) -> Any:
        behind = await asyncio.start_unix_server(serve, path=directory / "engine", limit=1 << 20)
        policy = Policy(guard, frozenset(allow), ("/nowhere",), "/e", "/s", "/base")
        engine = Upstream(str(directory / "engine"))
        server = Server(engine, _LABELS, policy, directory, lambda line: None)
        listener = await server.listen(bound(str(directory / "guard")))
        reader, writer = await asyncio.open_unix_connection(directory / "guard")
        try:
            return await asyncio.wait_for(client(reader, writer), _SECONDS)
        finally:
            writer.close()
            if server._serving:
                await asyncio.wait(server._serving, timeout=_SECONDS)
            listener.close()
            behind.close()

    with tempfile.TemporaryDirectory(prefix="dt", dir="/tmp") as directory:
        return asyncio.run(play(Path(directory)))


async def _nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An engine that leaves without an answer."""
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


def _sent(raw: bytes) -> _Client:
    """A client that sends all, and only then reads the answer, to its end."""

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(raw)
        await writer.drain()
        return await reader.read()

    return send


def test_refused_before_its_body_is_sent() -> None:
    """A client that sends all of a large body before it reads hears why it is refused."""
    head = b"POST /build?networkmode=host HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % _BIG
    answer = _play(_nothing, _sent(head + b"x" * _BIG))

    assert answer.startswith(b"HTTP/1.1 403")
    assert b"host-net" in answer


@pytest.mark.parametrize("call", ["GET /info", "GET /containers/x/json"])
def test_engine_that_leaves(call: str) -> None:
    """An engine that leaves without an answer is told of, whoever was to read the answer."""
    answer = _play(_nothing, _sent(f"{call} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))

    assert answer.startswith(b"HTTP/1.1 502")
    assert b"pytest-dind guard: the engine" in answer


def test_refused_question_for_a_head() -> None:
    """An answer to HEAD has no body, but it is one."""
    ask = b"HEAD /containers/x/archive?path=/x HTTP/1.1\r\nHost: x\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_answer(404, {"message": "No such container: x"}))
        writer.close()

    head, _, rest = _play(serve, _sent(ask)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 404")
    assert rest == b""


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ("GET /plugins/x/json", 404),
        ("GET /services/x", 404),
        ("GET /plugins", 403),
        ("DELETE /plugins/x", 403),
    ],
)
def test_look_at_what_is_refused(call: str, status: int) -> None:
    """A plugin or a service is as if it were not there: `docker inspect` looks for a name there."""
    answer = _play(_nothing, _sent(f"{call} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))

    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert b"run pytest with --dind-guard-allow=" in answer


def _engine_of(platform: dict[str, str], heads: list[bytes]) -> _Serve:
    """An engine of this platform, which has no images and builds whatever it is given."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        writer.write(_answer(200, platform if b"/version " in head else {}))
        writer.close()

    return serve


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("platform=linux/amd64", 200),
        ("platform=linux/x86_64", 200),
        ("platform=amd64", 200),
        ("platform=linux/arm64", 403),
        ("platform=linux/arm64&version=2", 200),
    ],
)
def test_build_for_a_platform(query: str, status: int) -> None:
    """The older builder may pull a base image of the host's anew, for another platform."""
    heads: list[bytes] = []
    ask = f"POST /build?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    answer = _play(_engine_of({"Os": "linux", "Arch": "amd64"}, heads), _sent(ask.encode()))

    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert any(b"/build?" in head for head in heads) == (status == 200)


@pytest.mark.parametrize(("driver", "status"), [("json-file", 201), ("syslog", 403)])
def test_log_options_alone(driver: str, status: int) -> None:
    """Options without a logging driver, as compose sends them, pass if the engine's is usual."""
    body = json.dumps({"HostConfig": {"LogConfig": {"Type": "", "Config": {"tag": "x"}}}})
    ask = f"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        told = {"LoggingDriver": driver}
        writer.write(_answer(200, told) if b"/info " in head else _answer(201, {"Id": _OWN}))
        writer.close()

    answer = _play(serve, _sent((ask + body).encode()))

    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert (b"--dind-guard-allow=log-driver:syslog" in answer) == (status == 403)


def _echo(heads: list[bytes]) -> _Serve:
    """An engine that notes each head and body, and says yes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        heads.append(head + body)
        writer.write(_answer(200, {}))
        writer.close()

    return serve


def test_driver_of_volumes_without_a_name() -> None:
    """They are of the container's volume driver, as the engine makes them itself."""
    heads: list[bytes] = []
    body = json.dumps(
        {
            "Volumes": {"/declared": {}},
            "HostConfig": {"Binds": ["/bare"], "VolumeDriver": "some-driver"},
        }
    )
    ask = f"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    _play(_echo(heads), _sent((ask + body).encode()), "volume-driver:some-driver")

    (made,) = [sent for sent in heads if b"/containers/create " in sent]
    mounts = json.loads(made.partition(b"\r\n\r\n")[2])["HostConfig"]["Mounts"]
    assert {mount["Target"]: mount["VolumeOptions"].get("DriverConfig") for mount in mounts} == {
        "/bare": {"Name": "some-driver"},
        "/declared": {"Name": "some-driver"},
    }


_UPDATE_SWARM = (
    b"POST /v1.41/swarm/update HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)
_CHECKPOINT = (
    b"GET /v1.41/containers/x/checkpoints HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
)


def test_allowed_as_a_whole() -> None:
    """A call that is allowed as a whole comes to the engine with its body as it was."""
    for options in ({"allow": "swarm"}, {"guard": "label"}):
        heads: list[bytes] = []
        answer = _play(
            _echo(heads), _sent(_UPDATE_SWARM), *filter(None, [options.pop("allow", "")]), **options
        )

        assert answer.startswith(b"HTTP/1.1 200")
        assert b"content-type: application/json\r\n" in heads[0]
        assert heads[0].endswith(b"\r\n\r\n{}")


def test_all_that_is_known_passes_where_it_is_only_labelled() -> None:
    """A guard that only labels passes on what one that guards says it would."""
    heads: list[bytes] = []

    assert b"--dind-guard=label" in _play(_echo(heads), _sent(_CHECKPOINT))
    assert heads == []
    assert _play(_echo(heads), _sent(_CHECKPOINT), guard="label").startswith(b"HTTP/1.1 200")
    unknown = _sent(b"GET /secret/door HTTP/1.1\r\nHost: x\r\n\r\n")
    for guard in ("own", "label"):
        answer = _play(_echo(heads), unknown, guard=guard)
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"--dind-mode=dind" in answer


_ATTACH = (
    b"POST /containers/%s/attach?stream=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
    b"Upgrade: tcp\r\n\r\n" % _OWN.encode()
)


class _Quiet:
    """An engine whose container says nothing, but for `after` when its stdin has ended."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/attach" not in head:
            writer.write(_INSPECTED)
            writer.close()
            return
        writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
        if await reader.read():
            writer.write(b"after")
            writer.close()
            return
        # All that it could still notice is that the other side is gone.
        while not writer.transport.is_closing():
            writer.write(b"")
            if await _is_gone(writer):
                break
        self.left.set()
        writer.close()


async def _is_gone(writer: asyncio.StreamWriter) -> bool:
    import select

    poll = select.poll()
    poll.register(writer.get_extra_info("socket"), 0)
    for _ in range(1000):
        if poll.poll(0):
            return True
        await asyncio.sleep(0.01)
    return False


def test_end_of_stdin() -> None:
    """The end of what a client sends is no end of what it hears."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(_ATTACH + b"in")
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        return await reader.read()

    engine = _Quiet()
    assert _play(engine.serve, half) == b"after"


@pytest.mark.skipif(sys.platform != "linux", reason="told by the kernel on Linux alone")
def test_client_that_leaves_what_is_quiet() -> None:
    """A client that is gone from a stream on which nothing comes takes the engine's side along."""
    engine = _Quiet()

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_ATTACH)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await engine.left.wait()

    _play(engine.serve, leave)


def _watched(kept: bool, *, users: bool) -> bool:
    """Whether a guard ends at once, with or without users when it comes."""

    async def watch(directory: Path) -> bool:
        lease = directory / "lease"
        os.mkfifo(lease)
        user = os.open(lease, os.O_RDWR) if users else None
        if kept:
            (directory / "kept").touch()
        config = GuardConfig(
            home="",
            socket="",
            lease=str(lease),
            kept=str(directory / "kept"),
            engine="",
            labels={},
            guard="own",
            allow=(),
            roots=(),
        )
        ending: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        process._watch(config, ending)
        if user is not None:
            os.close(user)
        return ending.done()

    with tempfile.TemporaryDirectory(prefix="dt", dir="/tmp") as directory:
        return asyncio.run(watch(Path(directory)))


def test_users_that_were_gone_before() -> None:
    """A guard whose users were killed before it came ends, unless it is kept."""
    assert _watched(kept=False, users=False)
    assert not _watched(kept=True, users=False)
    assert not _watched(kept=False, users=True)


@pytest.mark.parametrize(
    "failure",
    [{"error": "unexpected EOF"}, {"errorDetail": {"message": "unexpected EOF"}}],
    ids=["error", "errorDetail"],
)
def test_name_that_a_failed_load_took(failure: dict[str, Any]) -> None:
    """A load that fails, however that is told, may have moved any name: the host's come back."""
    asked: list[str] = []
    had, came = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    details = {
        "Config": {"Labels": {}},
        "RepoTags": ["x:latest"],
        "Created": "2020-01-01T00:00:00Z",
    }
    loaded: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode()
        call = re.sub(r"/v1\.\d+", "", line.rpartition(" ")[0]).partition("?")[0]
        asked.append(call)
        if call == "POST /images/load":
            loaded.append(True)
            events = [{"stream": "Loaded image: y:latest"}, failure]
            raw = "".join(f"{json.dumps(event)}\r\n" for event in events).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            writer.write(head % len(raw) + raw)
        elif call == "GET /images/json":
            writer.write(_answer(200, [{"Id": came if loaded else had, "RepoTags": ["x:latest"]}]))
        elif call.startswith("GET /images/"):
            writer.write(_answer(200, {**details, "Id": call.split("/")[2]}))
        else:
            writer.write(_answer(201, {}))
        writer.close()

    answer = _play(
        serve, _sent(b"POST /images/load HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    )

    assert b"the image x:latest was loaded, but the name is the host's" in answer
    assert f"POST /images/{had}/tag" in asked


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False),
        (BrokenPipeError(errno.EPIPE, "broken"), False),
        (OSError(errno.ENOTCONN, "not connected"), False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_error_of_the_guards_own(
    monkeypatch: pytest.MonkeyPatch, error: OSError, told: bool
) -> None:
    """An error of a file is told to the client; one of a connection means that a side has left."""

    async def fail(self: Server, exchange: object) -> None:
        raise error

    monkeypatch.setattr(Server, "_handle", fail)
    answer = _play(_nothing, _sent(b"GET /info HTTP/1.1\r\nHost: x\r\n\r\n"))

    assert answer.startswith(b"HTTP/1.1 500") == told
    assert (answer == b"") == (not told)


def test_upgrade_that_the_engine_declines() -> None:
    """An engine gets a bare "Connection: Upgrade", which Podman wants, and one that declines ends.

    It keeps the connection, since nothing told it not to, until the guard lets go of it.
    """
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/attach" not in head:
            writer.write(_INSPECTED)
        else:
            heads.append(head)
            writer.write(_answer(409, {"message": "it does not run"}))
            await reader.read()
        writer.close()

    async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(_ATTACH)
        return await reader.read()

    answer = _play(serve, whole)
    assert answer.startswith(b"HTTP/1.1 409")
    assert b"it does not run" in answer
    assert re.findall(rb"(?i)\r\nconnection: *([^\r]*)", heads[0]) == [b"Upgrade"]


def test_commit_without_settings_has_a_body() -> None:
    """Podman refuses a commit without one, and Docker's newer engines one that says nothing."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/commit" in head:
            length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            heads.append(await reader.readexactly(int(length[1]) if length else 0))
            writer.write(_answer(201, {"Id": "1"}))
        else:
            writer.write(_INSPECTED)
        writer.close()

    _play(serve, _sent(b"POST /commit?container=%s HTTP/1.1\r\nHost: x\r\n\r\n" % _OWN.encode()))
    assert [json.loads(body) for body in heads] == [{"Labels": {}}]
