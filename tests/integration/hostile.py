"""Requests that a guard must not pass on: each with the answer that it must get."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from conftest import NESTED_IMAGE

from .guarded import request

_CREATE = "/v1.41/containers/create"


class Hostile(NamedTuple):
    """One such request.

    In its bytes and in its answer stand `{container}`, `{running}`, `{exec}`, `{network}`,
    `{volume}` and `{image}` for somebody else's, `{mark}` for a name that nothing has yet,
    `{root}` for the project's root and `{own}` for a container of the run's own.
    """

    name: str
    raw: bytes
    status: int
    says: str


def _raw(name: str, text: str, status: int, says: str) -> Hostile:
    return Hostile(name, text.replace("\n", "\r\n").encode("latin-1"), status, says)


def _call(name: str, call: str, status: int, says: str, body: Any = None) -> Hostile:
    method, _, path = call.partition(" ")
    return Hostile(name, request(method, path, body), status, says)


def _host(name: str, allow: str, **host: Any) -> Hostile:
    """A container with host settings that are refused, naming what would allow them."""
    body = {"Image": NESTED_IMAGE, "HostConfig": host}
    says = (
        f"run pytest with --dind-guard-allow={allow}" if allow else "run pytest with --dind-guard"
    )
    return Hostile(name, request("POST", f"{_CREATE}?name={{mark}}", body), 403, says)


def _body(name: str, text: str | bytes, status: int, says: str) -> Hostile:
    """A container with a body as it stands here."""
    raw = text if isinstance(text, bytes) else text.encode()
    return Hostile(name, request("POST", f"{_CREATE}?name={{mark}}", raw), status, says)


_IMAGE = json.dumps(NESTED_IMAGE)
_TAIL = "\nHost: docker\nContent-Type: application/json\n"
_SMUGGLED = '{"Image":' + _IMAGE + ',"HostConfig":{"Privileged":true}}'
_NESTED = '{"Image":' + _IMAGE + ',"Labels":{}}'

FRAMING = [
    _raw(
        "two Content-Length headers",
        f"POST {_CREATE} HTTP/1.1{_TAIL}Content-Length: 2\nContent-Length: 2\n\n{{}}",
        400,
        "two headers content-length",
    ),
    _raw(
        "two Content-Length headers that differ",
        f"POST {_CREATE} HTTP/1.1{_TAIL}Content-Length: 2\nContent-Length: 60\n\n{{}}",
        400,
        "two headers content-length",
    ),
    _raw(
        "a list in Content-Length",
        f"POST {_CREATE} HTTP/1.1{_TAIL}Content-Length: 2, 2\n\n{{}}",
        400,
        "was not passed on",
    ),
    _raw(
        "both framings",
        f"POST {_CREATE} HTTP/1.1{_TAIL}Content-Length: 2\nTransfer-Encoding: chunked\n\n"
        "2\n{}\n0\n\n",
        400,
        "both Content-Length and Transfer-Encoding",
    ),
    _raw(
        "a chunked body for JSON",
        f"POST {_CREATE} HTTP/1.1{_TAIL}Transfer-Encoding: chunked\n\n2\n{{}}\n0\n\n",
        400,
        "in chunks where JSON",
    ),
    _raw(
        "an unknown coding",
        f"POST {_CREATE} HTTP/1.1{_TAIL}Transfer-Encoding: gzip, chunked\n\n0\n\n",
        400,
        "was not passed on",
    ),
    _raw(
        "a negative length",
        f"POST {_CREATE} HTTP/1.1{_TAIL}Content-Length: -1\n\n",
        400,
        "was not passed on",
    ),
    _raw(
        "a length with a plus",
        f"POST {_CREATE} HTTP/1.1{_TAIL}Content-Length: +2\n\n{{}}",
        400,
        "was not passed on",
    ),
    _raw(
        "an oversized body",
        f"POST {_CREATE} HTTP/1.1{_TAIL}Content-Length: 99999999\n\n",
        400,
        "a body of 99999999 bytes",
    ),
    _raw("a folded header", "GET /_ping HTTP/1.1\nHost: docker\nX: a\n b\n\n", 400, "folded"),
    _raw("a space before a colon", "GET /_ping HTTP/1.1\nHost : docker\n\n", 400, "not valid HTTP"),
    _raw("no host", "GET /_ping HTTP/1.1\n\n", 400, "not valid HTTP"),
    _raw("HTTP/1.0", "GET /_ping HTTP/1.0\nHost: docker\n\n", 400, "the first line"),
    _raw("HTTP/2", "PRI * HTTP/2.0\n\nSM\n\n", 400, "the first line"),
    _raw("a method in lower case", "get /_ping HTTP/1.1\nHost: docker\n\n", 400, "the first line"),
    _raw("two spaces", "GET  /_ping HTTP/1.1\nHost: docker\n\n", 400, "the first line"),
    _raw("a whole URL", "GET http://x/_ping HTTP/1.1\nHost: x\n\n", 400, "the first line"),
    Hostile("a bare LF", b"GET /_ping HTTP/1.1\nHost: docker\r\n\r\n", 400, "half of CR LF"),
    Hostile("a bare CR", b"GET /_ping HTTP/1.1\r\nA: b\rHost: x\r\n\r\n", 400, "half of CR LF"),
    Hostile("a NUL", b"GET /_ping HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400, "control character"),
    Hostile("garbage", b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "control character"),
    _raw(
        "a head without end",
        "GET /_ping HTTP/1.1\nHost: docker\n" + "A: " + "b" * 70000 + "\n\n",
        400,
        "too long",
    ),
    _raw(
        "headers to leave out",
        "GET /_ping HTTP/1.1\nHost: docker\nConnection: close, X-Registry-Auth\n\n",
        400,
        "names headers to leave out",
    ),
    _raw(
        "an upgrade of a list",
        "GET /containers/json HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: tcp\n\n",
        400,
        "no call to upgrade",
    ),
    _raw(
        "an upgrade to another protocol",
        "POST /containers/{own}/attach HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: h2c\n\n",
        400,
        "no call to upgrade to that",
    ),
    _raw(
        "an unknown upgrade",
        "POST /session HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: docker-ng\n\n",
        400,
        "do not go together",
    ),
    _raw("a session without upgrade", "POST /session HTTP/1.1\nHost: x\n\n", 400, "to h2c"),
    Hostile(
        "a second request behind a body",
        request("GET", "/_ping") + request("POST", f"{_CREATE}?name={{mark}}", json.loads(_NESTED)),
        200,
        "OK",
    ),
    Hostile(
        "a second request behind an attach that fails",
        request(
            "POST",
            "/v1.41/containers/{own}/attach?stream=maybe&stdin=1&detachKeys=no-such-key",
            None,
            ["Connection: Upgrade", "Upgrade: tcp"],
        )
        + request("POST", f"{_CREATE}?name={{mark}}", json.loads(_SMUGGLED)),
        400,
        "",
    ),
    Hostile(
        "a second request behind a load",
        request("POST", "/v1.41/images/load", b"no tar")
        + request("POST", f"{_CREATE}?name={{mark}}", json.loads(_SMUGGLED)),
        200,
        "",
    ),
]

PATHS = [
    _call("an escaped slash", "GET /containers%2Fjson", 400, "escaped slash"),
    _call("a slash escaped twice", "GET /containers%252Fjson", 400, "escaped slash"),
    _call("a backslash", "GET /containers%5Cjson", 400, "escaped slash"),
    _call("dots", "DELETE /v1.41/images/../containers/{running}", 400, "an empty part, . or .."),
    _call("escaped dots", "DELETE /v1.41/images/%2e%2e/containers/{running}", 400, ". or .."),
    _call("a dot", "GET /v1.41/./containers/json", 400, "an empty part, . or .."),
    _call("two slashes", "GET //containers/json", 400, "an empty part"),
    _call("a slash behind", "GET /containers/json/", 400, "an empty part"),
    _call("version 2", "GET /v2.0/containers/json", 400, "API version"),
    _call("version 1.9999", "GET /v1.9999/containers/json", 400, "API version"),
    _call("version 1.99", "GET /v1.99/containers/json", 400, "API version 1.99 is not known"),
    _call("version 1.12", "POST /v1.12/containers/{running}/start", 400, "API version 1.12"),
    _call("version 1.041", "GET /v1.041/containers/json", 400, "API version 1.041"),
    _call("two versions", "GET /v1.41/v1.41/containers/json", 403, "does not know"),
    _call("a version alone", "GET /v1.41", 400, "API version"),
    _call("a % alone", "GET /containers/%zz/json", 400, "no two hex digits"),
    _call("no UTF-8", "GET /containers/%ff/json", 400, "not UTF-8"),
    _call("a NUL in a name", "GET /containers/a%00b/json", 400, "a character that no name has"),
    _call("a newline in a name", "GET /containers/a%0d%0ab/json", 400, "a character that no name"),
    _call("a question mark in a name", "GET /containers/a%3fb/json", 400, "a character that no"),
    _call("an unknown call", "GET /v1.41/secret/door", 403, "the guard does not know"),
    _call("an unknown method", "PATCH /v1.41/containers/{running}", 403, "does not know"),
    _call("a call in upper case", "GET /v1.41/Containers/json", 403, "does not know"),
    _call("a debug call", "GET /debug/pprof/", 400, "an empty part"),
    _call("a debug variable", "GET /debug/vars", 403, "does not know"),
    _call("an unknown parameter", "GET /v1.41/containers/json?secret=1", 400, "secret"),
    _call("a parameter twice", "POST /v1.41/containers/prune?filters=a&filters=b", 400, "twice"),
    _call("a bare semicolon", "GET /v1.41/containers/json?all=1;limit=1", 400, "bare ;"),
    _call(
        "filters that are no JSON", "GET /v1.41/containers/json?filters=x", 400, "not valid JSON"
    ),
    _call(
        "filters that are a list", "GET /v1.41/containers/json?filters=[]", 400, "not a JSON obj"
    ),
    _call(
        "filters with a false value",
        'GET /v1.41/containers/json?filters={"label":{"a":false}}'.replace('"', "%22"),
        400,
        "not text",
    ),
    _call(
        "a start from a checkpoint",
        "POST /v1.41/containers/{own}/start?checkpoint=c&checkpoint-dir=/etc",
        400,
        "checkpoint",
    ),
    _call("a body where none belongs", "POST /v1.41/containers/{own}/start", 400, "no body", {}),
    Hostile(
        "filters in a form",
        request(
            "POST",
            "/v1.41/containers/prune",
            b"filters=%7B%7D",
            ["Content-Type: application/x-www-form-urlencoded"],
        ),
        400,
        "takes no body",
    ),
    Hostile(
        "a container in a form",
        request("POST", _CREATE, b"a=b", ["Content-Type: application/x-www-form-urlencoded"]),
        400,
        "not application/json",
    ),
]

BODIES = [
    _body("an equal key", '{"Image":"a","Image":' + _IMAGE + "}", 400, "stands twice"),
    _body(
        "an equal key inside",
        '{"Image":' + _IMAGE + ',"HostConfig":{"Privileged":false,"Privileged":true}}',
        400,
        "stands twice",
    ),
    _body(
        "another case",
        '{"Image":' + _IMAGE + ',"hostconfig":{"Privileged":true}}',
        400,
        "hostconfig is not how the API writes HostConfig",
    ),
    _body(
        "another case inside",
        '{"Image":' + _IMAGE + ',"HostConfig":{"privileged":true}}',
        400,
        "HostConfig.privileged is not how the API writes Privileged",
    ),
    _body(
        "a letter that Go folds",
        '{"Image":' + _IMAGE + ',"HostConfig":{"Bind\\u017f":["/:/host"]}}',
        400,
        "is not how the API writes Binds",
    ),
    _body(
        "host settings outside of HostConfig",
        '{"Image":' + _IMAGE + ',"Privileged":true}',
        403,
        "the field Privileged, which the guard does not know",
    ),
    _body("an unknown field", '{"Image":' + _IMAGE + ',"New":1}', 403, "the field New"),
    _body(
        "an unknown field inside",
        '{"Image":' + _IMAGE + ',"HostConfig":{"New":[1]}}',
        403,
        "the field HostConfig.New",
    ),
    _body("no JSON", "{", 400, "not valid JSON"),
    _body("a list", "[]", 400, "not a JSON object"),
    _body("text behind", _NESTED + "{}", 400, "not valid JSON"),
    _body("NaN", '{"Image":' + _IMAGE + ',"StopTimeout":NaN}', 400, "not valid JSON"),
    _body("infinity", '{"Image":' + _IMAGE + ',"StopTimeout":1e999}', 400, "not valid JSON"),
    _body("no UTF-8 in JSON", b'{"Image":"\xff"}', 400, "not UTF-8"),
    _body("a byte order mark", "\ufeff" + _NESTED, 400, "not valid JSON"),
    _body("half of a pair", '{"Image":"\\ud800"}', 400, "not valid JSON"),
    _body("a NUL in JSON", '{"Image":"a\\u0000b"}', 400, "a NUL"),
    _body("depth", '{"Env":' + "[" * 100_000 + "]" * 100_000 + "}", 400, "nested too deeply"),
    _body("a number for a list", '{"HostConfig":{"Binds":1}}', 400, "not a list of strings"),
    _body("text for a flag", '{"HostConfig":{"Privileged":"true"}}', 400, "neither true nor false"),
    _body("a number for an object", '{"HostConfig":1}', 400, "not a JSON object"),
    _body("a path for an image", '{"Image":"../x"}', 400, "no image's name"),
    _body("a short body", b"", 400, ""),
]

_JSON_MOUNT = {"Type": "bind", "Source": "/etc", "Target": "/host"}

HOST = [
    _host("privilege", "privileged", Privileged=True),
    _host("host pid", "host-pid", PidMode="host"),
    _host("host network", "host-net", NetworkMode="host"),
    _host("host ipc", "host-ipc", IpcMode="host"),
    _host("host uts", "host-uts", UTSMode="host"),
    _host("host userns", "host-userns", UsernsMode="host"),
    _host("host cgroupns", "host-cgroupns", CgroupnsMode="host"),
    _host("all capabilities", "cap:ALL", CapAdd=["ALL"]),
    _host("a capability", "cap:SYS_ADMIN", CapAdd=["sys_admin"]),
    _host("a capability in full", "cap:SYS_MODULE", CapAdd=["CAP_SYS_MODULE"]),
    _host("a device", "device:/dev/kmsg", Devices=[{"PathOnHost": "/dev/kmsg"}]),
    _host("a device rule", "device-rules", DeviceCgroupRules=["a *:* rwm"]),
    _host("a GPU", "device-rules", DeviceRequests=[{"Count": -1, "Capabilities": [["gpu"]]}]),
    _host("a bind", "bind:/etc", Binds=["/etc:/host:ro"]),
    _host("the root", "socket", Binds=["/:/host"]),
    _host("the socket", "socket", Binds=["/var/run/docker.sock:/var/run/docker.sock"]),
    _host("the socket's directory", "socket", Binds=["/run:/host"]),
    _host("dots in a bind", "bind:/etc", Binds=["{root}/../../../etc:/host"]),
    _host("a link in a bind", "bind:/etc", Binds=["{root}/link:/host"]),
    _host("the sockets of all runs", "", Binds=["{root}/../runs:/host"]),
    _host("a mount of a path", "bind:/etc", Mounts=[_JSON_MOUNT]),
    _host("a mount by a link", "bind:/etc", Mounts=[{**_JSON_MOUNT, "Source": "{root}/link"}]),
    _host("a pipe", "", Mounts=[{"Type": "npipe", "Source": "/x", "Target": "/y"}]),
    _host("shared mounts", "propagation:rshared", Binds=["{root}:/host:rshared"]),
    _host(
        "a volume that binds",
        "bind:/etc",
        Mounts=[
            {
                "Type": "volume",
                "Target": "/host",
                "VolumeOptions": {
                    "DriverConfig": {
                        "Name": "local",
                        "Options": {"type": "none", "o": "bind", "device": "/etc"},
                    }
                },
            }
        ],
    ),
    _host("a volume driver", "volume-driver:sshfs", VolumeDriver="sshfs"),
    _host("a runtime", "runtime:evil", Runtime="evil"),
    _host("a cgroup parent", "cgroup-parent", CgroupParent="/"),
    _host("no seccomp", "security-opt:seccomp=unconfined", SecurityOpt=["seccomp=unconfined"]),
    _host("no AppArmor", "security-opt:apparmor=unconfined", SecurityOpt=["apparmor=unconfined"]),
    _host("no SELinux", "security-opt:label=disable", SecurityOpt=["label=disable"]),
    _host("no masked paths", "unmasked-paths", MaskedPaths=[]),
    _host("no read-only paths", "unmasked-paths", ReadonlyPaths=[]),
    _host("a sysctl", "sysctl:kernel.core_pattern", Sysctls={"kernel.core_pattern": "|/x"}),
    _host("a log driver", "log-driver:syslog", LogConfig={"Type": "syslog", "Config": {}}),
    _host("annotations", "annotations", Annotations={"run.oci.hooks": "x"}),
    _host("another's network namespace", "join:{container}", NetworkMode="container:{container}"),
    _host("another's pid namespace", "join:{running}", PidMode="container:{running}"),
    _host("another's ipc namespace", "join:{running}", IpcMode="container:{running}"),
    _host("nobody's namespace", "join:nobody", PidMode="container:nobody"),
]

OTHERS = [
    *(
        _call(f"{call} of another's", f"{call.replace('X', '{running}')}", 404, "No such container")
        for call in (
            "GET /v1.41/containers/X/json",
            "GET /v1.41/containers/X/logs?stdout=1",
            "GET /v1.41/containers/X/top",
            "GET /v1.41/containers/X/stats?stream=0",
            "GET /v1.41/containers/X/changes",
            "GET /v1.41/containers/X/export",
            "GET /v1.41/containers/X/archive?path=/data",
            "POST /v1.41/containers/X/start",
            "POST /v1.41/containers/X/stop?t=0",
            "POST /v1.41/containers/X/restart?t=0",
            "POST /v1.41/containers/X/kill?signal=KILL",
            "POST /v1.41/containers/X/pause",
            "POST /v1.41/containers/X/unpause",
            "POST /v1.41/containers/X/rename?name={mark}",
            "POST /v1.41/containers/X/wait",
            "POST /v1.41/containers/X/resize?h=1&w=1",
            "POST /v1.41/containers/X/attach?stream=1&stdin=1",
            "DELETE /v1.41/containers/X?force=1&v=1",
            "POST /v1.41/commit?container=X&repo={mark}",
        )
    ),
    _call("a removal by name", "DELETE /v1.41/containers/{container}?force=1", 404, "No such"),
    _call("a removal without version", "DELETE /containers/{container}?force=1", 404, "No such"),
    _call("a removal by prefix", "DELETE /containers/{prefix}?force=1", 404, "No such container"),
    _call("an update", "POST /containers/{running}/update", 404, "No such", {"Memory": 9999999}),
    _call("an exec", "POST /containers/{running}/exec", 404, "No such", {"Cmd": ["id"]}),
    _call("a start of an exec", "POST /exec/{exec}/start", 404, "No such exec", {"Detach": True}),
    _call("a look at an exec", "GET /exec/{exec}/json", 404, "No such exec"),
    _call(
        "an exec with privilege",
        "POST /containers/{own}/exec",
        403,
        "privileged",
        {"Cmd": ["id"], "Privileged": True},
    ),
    _call("an upload", "PUT /containers/{running}/archive?path=/data", 404, "No such", b""),
    _call("a network", "GET /networks/{network}", 404, "not found"),
    _call("a network's removal", "DELETE /networks/{network}", 404, "not found"),
    _call("the removal of the bridge", "DELETE /networks/bridge", 403, "which every engine has"),
    _call(
        "a connection", "POST /networks/{network}/connect", 404, "not found", {"Container": "{own}"}
    ),
    _call(
        "a connection of another's",
        "POST /networks/bridge/connect",
        404,
        "No such container",
        {"Container": "{running}"},
    ),
    _call(
        "a connection to the host",
        "POST /networks/host/connect",
        403,
        "host-net",
        {"Container": "{own}"},
    ),
    _call(
        "a disconnection",
        "POST /networks/{network}/disconnect",
        404,
        "not found",
        {"Container": "{running}", "Force": True},
    ),
    _call("a volume", "GET /volumes/{volume}", 404, "no such volume"),
    _call("a volume's removal", "DELETE /volumes/{volume}?force=1", 404, "no such volume"),
    _call("a volume's name", "POST /volumes/create", 409, "not this run's", {"Name": "{volume}"}),
    _call(
        "a network's name", "POST /networks/create", 409, "already exists", {"Name": "{network}"}
    ),
    _call("an image's removal", "DELETE /images/{image}?force=1", 409, "did not make"),
    _call("the removal of the test's image", f"DELETE /images/{NESTED_IMAGE}", 409, "did not make"),
    _call("an image's name", f"POST /images/{NESTED_IMAGE}/tag?repo={{image}}", 409, "the host's"),
    _call("a build under an image's name", "POST /build?t={image}", 409, "the host's", b""),
    _call(
        "a commit under an image's name",
        "POST /commit?container={own}&repo={image}",
        409,
        "the host's",
    ),
    _call(
        "an import under an image's name",
        "POST /images/create?fromSrc=-&repo={image}",
        409,
        "the host's",
        b"",
    ),
    _call("a push of an image", "POST /images/{image}/push", 403, "pushing"),
    _call("a pull of all tags", "POST /images/create?fromImage=busybox", 403, "pull"),
    _call("a pull of base images", "POST /build?pull=1", 403, "pull", b""),
    _call("a build on the host's network", "POST /build?networkmode=host", 403, "host-net", b""),
    _call(
        "a build on another's network", "POST /build?networkmode={network}", 404, "not found", b""
    ),
    _call(
        "a build in another's namespace",
        "POST /build?networkmode=container:{running}",
        403,
        "join:{running}",
        b"",
    ),
    _call(
        "a name with two tags for an image of the host",
        f"POST /images/{NESTED_IMAGE}/tag?repo={{image}}&tag=2",
        400,
        "has a tag already",
    ),
    _call(
        "a pull by a name with two tags",
        "POST /images/create?fromImage={image}&tag=2",
        400,
        "has a tag already",
    ),
    _call(
        "labels that a commit would swallow",
        "POST /commit?container={own}&repo={mark}&changes=CMD%20a%20%5C",
        400,
        "goes on in the next one",
    ),
    _call(
        "labels that an import would swallow",
        "POST /images/create?fromSrc=-&repo={mark}&changes=CMD%20a%20%5C",
        400,
        "goes on in the next one",
        b"",
    ),
    _call("a build with a cgroup parent", "POST /build?cgroupparent=/x", 403, "cgroup-parent", b""),
    _call(
        "a build without seccomp",
        "POST /build?securityopt=seccomp%3Dunconfined",
        403,
        "security-opt",
        b"",
    ),
    _call(
        "a build under a name in outputs",
        "POST /build?outputs=[{%22Type%22:%22moby%22,%22Attrs%22:{%22name%22:%22{image}%22}}]",
        403,
        "outputs",
        b"",
    ),
    _call("a build with labels that are none", "POST /build?labels=[]", 400, "labels", b""),
    _call("the end of another's build", "POST /build/cancel?id=theirs", 404, "No such build"),
    _call(
        "a macvlan",
        "POST /networks/create",
        403,
        "network-driver:macvlan",
        {"Name": "{mark}", "Driver": "macvlan"},
    ),
    _call(
        "a bridge of the host",
        "POST /networks/create",
        403,
        "network-option",
        {"Name": "{mark}", "Options": {"com.docker.network.bridge.name": "docker0"}},
    ),
    _call(
        "a volume of the host",
        "POST /volumes/create",
        403,
        "bind:/etc",
        {"Name": "{mark}", "DriverOpts": {"type": "none", "o": "bind", "device": "/etc"}},
    ),
    _call(
        "a disk of the host",
        "POST /volumes/create",
        403,
        "volume-options",
        {"Name": "{mark}", "DriverOpts": {"type": "ext4", "device": "/dev/vda"}},
    ),
    _call(
        "a container with another's volume",
        f"POST {_CREATE}?name={{mark}}",
        409,
        "not this run's",
        {"Image": NESTED_IMAGE, "HostConfig": {"Binds": ["{volume}:/x"]}},
    ),
    _call(
        "a mount of another's volume",
        f"POST {_CREATE}?name={{mark}}",
        409,
        "not this run's",
        {
            "Image": NESTED_IMAGE,
            "HostConfig": {"Mounts": [{"Type": "volume", "Source": "{volume}", "Target": "/x"}]},
        },
    ),
    _call(
        "volumes from another's",
        f"POST {_CREATE}?name={{mark}}",
        404,
        "No such container",
        {"Image": NESTED_IMAGE, "HostConfig": {"VolumesFrom": ["{container}"]}},
    ),
    _call(
        "a link to another's",
        f"POST {_CREATE}?name={{mark}}",
        404,
        "No such container",
        {"Image": NESTED_IMAGE, "HostConfig": {"Links": ["{container}:x"]}},
    ),
    _call(
        "a container on another's network",
        f"POST {_CREATE}?name={{mark}}",
        404,
        "not found",
        {"Image": NESTED_IMAGE, "HostConfig": {"NetworkMode": "{network}"}},
    ),
    _call(
        "an endpoint on another's network",
        f"POST {_CREATE}?name={{mark}}",
        404,
        "not found",
        {"Image": NESTED_IMAGE, "NetworkingConfig": {"EndpointsConfig": {"{network}": {}}}},
    ),
    _call(
        "the host's network by its id",
        f"POST {_CREATE}?name={{mark}}",
        403,
        "host-net",
        {"Image": NESTED_IMAGE, "HostConfig": {"NetworkMode": "{host}"}},
    ),
    _call("swarm", "POST /swarm/init", 403, "swarm", {"ListenAddr": "0.0.0.0"}),
    _call("a service", "POST /services/create", 403, "swarm", {"Name": "x"}),
    _call("secrets", "GET /secrets", 403, "swarm"),
    _call("a plugin", "POST /plugins/pull?remote=x/y", 403, "plugins", []),
    _call("plugins", "GET /plugins", 403, "plugins"),
    _call(
        "a checkpoint",
        "POST /containers/{own}/checkpoints",
        403,
        "reaches into the host",
        {"CheckpointID": "c", "CheckpointDir": "/etc"},
    ),
    _raw(
        "BuildKit's own API",
        "POST /grpc HTTP/1.1\nHost: x\nConnection: Upgrade\nUpgrade: h2c\n\n",
        403,
        "buildkit-grpc",
    ),
]

ALL = [*FRAMING, *PATHS, *BODIES, *HOST, *OTHERS]
