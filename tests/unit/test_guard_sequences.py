"""No sequence of calls through the guard changes an object that is not the run's own.

The guard serves on a socket, in front of an engine that is a model: it answers as an engine does,
and notes down what reaches it.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import h11
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_dind.guard.http.proxy import bound
from pytest_dind.guard.http.upstream import Upstream
from pytest_dind.guard.objects import run_labels
from pytest_dind.guard.rules.policy import Policy
from pytest_dind.guard.server import Server
from pytest_dind.lifetime import labels

_HOME = "/base/run/main"
_LABELS = run_labels.RunLabels(labels.make("run", mode="socket", keep="never", home=Path(_HOME)))
_OWN, _THEIRS = "a" * 64, "ab" + "b" * 62
_OWN_NET, _THEIR_NET, _BRIDGE, _HOST = "1" * 64, "12" * 32, "3" * 64, "4" * 64
_MADE = "d" * 64
_OWN_EXEC, _THEIR_EXEC = "e" * 64, "f" * 64
_OWN_IMAGE, _THEIR_IMAGE = "sha256:" + "5" * 64, "sha256:" + "6" * 64

_CONTAINERS = {
    _OWN: ("own", _LABELS.for_role(run_labels.CONTAINER)),
    _THEIRS: ("theirs", {}),
    # Of an image that a test made: it has the image's labels.
    "c" * 64: ("inherited", _LABELS.for_role(run_labels.IMAGE)),
}
_NETWORKS = {
    _OWN_NET: ("own", _LABELS.for_role(run_labels.NETWORK)),
    _THEIR_NET: ("theirs", {}),
    # A name that two networks have.
    "7" * 64: ("own", {}),
    _BRIDGE: ("bridge", {}),
    _HOST: ("host", {}),
}
_VOLUMES = {"own": _LABELS.for_role(run_labels.VOLUME), "theirs": {}}
_IMAGES = {
    _OWN_IMAGE: (["own:latest", "own:1"], _LABELS.for_role(run_labels.IMAGE)),
    _THEIR_IMAGE: (["theirs:latest"], {}),
}


class _Model:
    """An engine that notes down what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        method, target, body = "", "", b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                method, target = event.method.decode(), event.target.decode()
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                break
        url = urlsplit(re.sub(r"^/v1\.\d+", "", target))
        try:
            content = json.loads(body) if body else None
        except ValueError:
            content = body
        self.asked.append((method, url.path, parse_qs(url.query), content))
        status, answer = self._answer(method, url.path, content)
        raw = json.dumps(answer).encode()
        head = h11.Response(
            status_code=status,
            headers=[("Content-Length", str(len(raw))), ("Connection", "close")],
        )
        writer.write((connection.send(head) or b"") + (connection.send(h11.Data(data=raw)) or b""))
        await writer.drain()
        writer.close()

    def _answer(self, method: str, path: str, content: Any) -> tuple[int, Any]:
        parts = path[1:].split("/")
        if path == "/version":
            return 200, {"ApiVersion": "1.41"}
        if path == "/networks":
            items = _NETWORKS.items()
            return 200, [{"Id": key, "Name": name, "Labels": has} for key, (name, has) in items]
        if path == "/images/json":
            items2 = _IMAGES.items()
            return 200, [
                {"Id": key, "RepoTags": tags, "Labels": has, "Size": 1}
                for key, (tags, has) in items2
            ]
        if path == "/volumes/create" and isinstance(content, Mapping):
            name = content.get("Name") or "0" * 64
            return 201, {"Name": name, "Labels": _VOLUMES.get(name, content["Labels"])}
        if method == "GET" and path.endswith("/json") and parts[0] == "containers":
            return self._inspect(parts[1])
        if method == "GET" and parts[0] == "exec":
            return 200, {"ContainerID": _OWN if parts[1] == _OWN_EXEC else _THEIRS}
        if method == "GET" and path.endswith("/json") and parts[0] == "images":
            return self._inspect_image("/".join(parts[1:-1]))
        if method == "GET" and parts[0] == "volumes" and len(parts) == 2:
            known = parts[1] in _VOLUMES
            return (200, {"Name": parts[1], "Labels": _VOLUMES[parts[1]]}) if known else (404, {})
        if method == "DELETE" and parts[0] == "images":
            return 200, [{"Untagged": parts[1]}]
        return 201, {"Id": _MADE, "message": "done"}

    def _inspect(self, name: str) -> tuple[int, Any]:
        for key, (known, has) in _CONTAINERS.items():
            if name in (key, known) or (key.startswith(name) and name != "a"):
                return 200, {"Id": key, "Config": {"Labels": has}, "Mounts": []}
        return 404, {"message": f"No such container: {name}"}

    def _inspect_image(self, name: str) -> tuple[int, Any]:
        for key, (tags, has) in _IMAGES.items():
            if name in (key, key[7:19], *tags) or f"{name}:latest" in tags:
                return 200, {
                    "Id": key,
                    "RepoTags": tags,
                    "RepoDigests": [],
                    "Parent": "",
                    "Config": {"Labels": has},
                }
        return 404, {"message": "No such image"}


_NAMES = st.sampled_from(
    [
        *("own", "theirs", "inherited", "none", "bridge", "host", "new", "a", "ab", "aa", "..", ""),
        *("own:1", "own:latest", "theirs:latest", "theirs:1", "docker.io/library/theirs", "x/y:z"),
        *(_OWN, _THEIRS, _OWN[:12], _THEIRS[:12], _OWN_NET, _THEIR_NET, _BRIDGE, _HOST),
        *(_OWN_EXEC, _THEIR_EXEC, _OWN_IMAGE, _THEIR_IMAGE, _THEIR_IMAGE[7:19], "c" * 64),
    ]
)
_VERBS = (
    *("start", "stop", "kill", "pause", "unpause", "restart", "rename?name=Y", "wait", "update"),
    *("exec", "attach", "resize?h=1&w=1"),
)
_CALLS = st.sampled_from(
    [
        *(f"POST /containers/X/{verb}" for verb in _VERBS),
        *("DELETE /containers/X?force=1&v=1", "PUT /containers/X/archive?path=/"),
        *("POST /exec/X/start", "POST /exec/X/resize?h=1", "POST /containers/create?name=Y"),
        *("POST /containers/prune", "POST /networks/prune", "POST /volumes/prune"),
        *(
            "POST /images/prune",
            "POST /build/prune?all=1",
            "POST /build?t=Y",
            "POST /build?t=X&t=Y",
        ),
        *("POST /networks/create", "POST /networks/X/connect", "POST /networks/X/disconnect"),
        *("DELETE /networks/X", "POST /volumes/create", "DELETE /volumes/X?force=1"),
        *("POST /commit?container=X&repo=Y", "POST /images/create?fromImage=X&tag=Y"),
        *("POST /images/create?fromImage=X", "POST /images/create?fromSrc=-&repo=X"),
        *("POST /images/X/tag?repo=Y", "DELETE /images/X?force=1", "POST /images/X/push"),
        *("POST /swarm/init", "POST /plugins/pull", "POST /services/create", "POST /grpc"),
        *("POST /containers/X/checkpoints", "DELETE /X", "POST /X/Y", "PUT /volumes/X"),
    ]
)
_REFERENCES = st.fixed_dictionaries(
    {},
    optional={
        "NetworkMode": _NAMES | _NAMES.map("container:{}".format),
        "PidMode": _NAMES.map("container:{}".format),
        "IpcMode": _NAMES.map("container:{}".format),
        "VolumesFrom": st.lists(_NAMES, max_size=2),
        "Links": st.lists(_NAMES.map("{}:alias".format), max_size=2),
        "Binds": st.lists(_NAMES.map("{}:/x".format), max_size=2),
        "Mounts": st.lists(
            st.fixed_dictionaries(
                {"Type": st.just("volume"), "Source": _NAMES, "Target": st.just("/y")}
            ),
            max_size=1,
        ),
        "Privileged": st.booleans(),
    },
)
_BODIES = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "Image": _NAMES,
        "Name": _NAMES,
        "Container": _NAMES,
        "Labels": st.dictionaries(
            st.sampled_from([labels.HOME, labels.ROLE, "mine"]), st.text(max_size=3)
        ),
        "HostConfig": _REFERENCES,
        "NetworkingConfig": st.fixed_dictionaries(
            {
                "EndpointsConfig": st.dictionaries(
                    _NAMES, st.fixed_dictionaries({"NetworkID": _NAMES}), max_size=2
                )
            }
        ),
        "EndpointConfig": st.fixed_dictionaries({"NetworkID": _NAMES}),
        "Cmd": st.just(["x"]),
        "Memory": st.just(5),
    },
)
_SEQUENCES = st.lists(st.tuples(_CALLS, _NAMES, _NAMES, _BODIES), min_size=1, max_size=6)


def _stamped(found: Any, role: str) -> bool:
    return _LABELS.owns(role, found)


def _is_fine(method: str, path: str, query: dict[str, list[str]], body: Any) -> bool:
    """Whether what reached the engine leaves all alone that is not the run's own."""
    kind, _, rest = path[1:].partition("/")
    if method == "GET":
        return True
    if rest == "create" and kind in ("containers", "networks", "volumes"):
        return _stamped(body["Labels"], kind[:-1]) and _refers_to_own(body)
    if rest == "prune":
        return f"{labels.HOME}={_HOME}" in json.loads(query["filters"][0])["label"]
    if kind == "build":
        names = set(query.get("t", []))
        return _stamped(json.loads(query["labels"][0]), "image") and not _taken(names)
    if kind == "commit":
        own = query["container"][0] in (_OWN, _MADE)
        return (
            own
            and _HOME in "".join(query["changes"][-4:])
            and not _taken(set(query.get("repo", [])))
        )
    if kind == "images":
        return _is_fine_with_images(method, rest, query)
    return _is_about_own(kind, *rest.partition("/")[::2], body)


def _is_about_own(kind: str, name: str, verb: str, body: Any) -> bool:
    if verb in ("connect", "disconnect"):
        return name in (_OWN_NET, _BRIDGE, _MADE) and body["Container"] in (_OWN, _MADE)
    own = {"containers": _OWN, "exec": _OWN_EXEC, "networks": _OWN_NET, "volumes": "own"}
    return name in (own.get(kind), _MADE)


def _taken(given: set[str]) -> bool:
    """Whether a name is the host's."""
    plain = {name.removeprefix("docker.io/library/") for name in given}
    return bool({"theirs", "theirs:latest"} & plain)


def _is_fine_with_images(method: str, rest: str, query: dict[str, list[str]]) -> bool:
    if rest == "create" and "fromSrc" in query:
        return _HOME in "".join(query["changes"][-4:]) and not _taken(set(query.get("repo", [])))
    if rest == "create":
        tag = query.get("tag", ["latest"])[0]
        return not _taken({f"{query['fromImage'][0]}:{tag}"})
    if method == "DELETE":
        return query["noprune"] == ["1"] and rest in (_OWN_IMAGE, "own:1", "own:latest")
    if rest.endswith("/tag"):
        return not _taken({query["repo"][0]})
    return rest.endswith("/push") and not _taken({rest.removesuffix("/push")})


def _refers_to_own(body: dict[str, Any]) -> bool:
    """Whether what a new container is made of is the run's own."""
    host = body.get("HostConfig") or {}
    joined = [host.get(key) or "" for key in ("NetworkMode", "PidMode", "IpcMode")]
    containers = [mode.partition(":")[2] for mode in joined if mode.startswith("container:")]
    containers += [entry.partition(":")[0] for entry in host.get("VolumesFrom") or []]
    containers += [entry.partition(":")[0] for entry in host.get("Links") or []]
    volumes = [bind.partition(":")[0] for bind in host.get("Binds") or []]
    volumes += [mount.get("Source", "") for mount in host.get("Mounts") or []]
    endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    networks = {end.get("NetworkID", "") for end in endpoints.values()}
    return (
        {*containers} <= {_OWN, _MADE}
        and "theirs" not in volumes
        and networks <= {_OWN_NET, ""}
        and not host.get("Privileged")
        and host.get("NetworkMode") not in ("host", _HOST, "theirs", _THEIR_NET)
    )


async def _play(sequence: list[tuple[str, str, str, Any]], directory: Path) -> _Model:
    model = _Model()
    engine_path, guard_path = directory / "engine", directory / "guard"
    behind = await asyncio.start_unix_server(model.serve, path=engine_path)
    engine = Upstream(str(engine_path))
    await engine.negotiate_version()
    policy = Policy("own", frozenset(), (str(directory),), str(engine_path), "/s", "/base")
    errors: list[str] = []
    server = Server(engine, _LABELS, policy, directory, errors.append)
    listener = await server.listen(bound(str(guard_path)))
    for call, first, second, content in sequence:
        method, _, target = call.partition(" ")
        asked, mark, query = target.partition("?")
        asked = asked.replace("X", quote(first, safe="/:@")).replace("Y", quote(second, safe="/:@"))
        query = query.replace("=X", f"={quote(first)}").replace("=Y", f"={quote(second)}")
        raw = b"" if content is None else json.dumps(content).encode()
        head = f"{method} {asked}{mark}{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(raw)}"
        reader, writer = await asyncio.open_unix_connection(guard_path)
        writer.write(head.encode() + b"\r\nContent-Type: application/json\r\n\r\n" + raw)
        assert await asyncio.wait_for(reader.read(), 20)
        writer.close()
    if server._serving:
        await asyncio.wait(server._serving, timeout=20)
    listener.close()
    behind.close()
    assert not [line for line in errors if line.startswith("500")], errors
    return model


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@example([("POST /images/X/tag?repo=Y", "theirs", "theirs", None)])
@given(_SEQUENCES)
def test_no_sequence_touches_what_is_not_ones_own(
    sequence: list[tuple[str, str, str, Any]],
) -> None:
    """Whatever is asked, what reaches the engine is a look, or about the run's own, or labelled."""
    with tempfile.TemporaryDirectory(prefix="dt", dir="/tmp") as directory:
        model = asyncio.run(_play(sequence, Path(directory)))
    for asked in model.asked:
        assert _is_fine(*asked), asked
