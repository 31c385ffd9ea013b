"""The calls of the Engine API that the guard knows, each with its handler.

Read off the engine's own routers (moby, api/server/router) and the API's description (swagger.yaml)
up to version 1.57. A call that is not here is refused, and so is a parameter: it can do harm, as
the directory of a checkpoint can.
"""

from __future__ import annotations

from ..rules import names
from ..rules.routes import ANY, JSON, STREAM, Route, Routes
from .base import Context
from .builds import BuildHandlers
from .image_calls import ImageHandlers
from .reading import ReadHandlers
from .resources import ResourceHandlers
from .swarm import SwarmHandlers

_LOGS = "follow stdout stderr since until timestamps tail details"
_ATTACH = "detachKeys logs stream stdin stdout stderr"
_BUILD = (
    "dockerfile t extrahosts remote q nocache cachefrom pull rm forcerm memory memswap cpushares "
    "cpusetcpus cpusetmems cpuperiod cpuquota buildargs shmsize squash labels networkmode platform "
    "target outputs version session buildid ulimits isolation cgroupparent securityopt"
)


def routes(context: Context) -> Routes:
    """Make the routes of one guard: each leads to a method of one of its groups of handlers."""
    reading, resources = ReadHandlers(context), ResourceHandlers(context)
    builds, images = BuildHandlers(context), ImageHandlers(context)
    swarm = SwarmHandlers(context)
    return Routes(
        (
            # Everybody's to read.
            Route("GET /_ping", reading.ping),
            Route("HEAD /_ping", reading.ping),
            Route("GET /version", reading.version),
            Route("GET /info", reading.read),
            Route("POST /auth", reading.read_json, body=JSON),
            Route("GET /distribution/{image}/json", reading.read),
            Route(
                "GET /images/json",
                reading.read,
                "all filters shared-size digests manifests filter identity only_ids",
            ),
            Route("GET /images/search", reading.read, "term limit filters"),
            Route("GET /images/get", reading.read, "names platform"),
            Route("GET /images/{image}/get", reading.read, "platform"),
            Route("GET /images/{image}/history", reading.read, "platform"),
            Route("GET /images/{image}/json", reading.read, "manifests platform"),
            Route("GET /images/{image}/attestations", reading.read, "platform type statement"),
            # Lists, of which the client sees what is its own.
            Route(
                "GET /containers/json",
                reading.list_containers,
                "all limit size filters since before trunc_cmd",
            ),
            Route("GET /networks", reading.list_networks, "filters"),
            Route("GET /volumes", reading.list_volumes, "filters"),
            Route("GET /events", reading.events, "since until filters"),
            Route("GET /system/df", reading.disk_usage, "type verbose"),
            # Containers.
            Route(
                "POST /containers/create",
                resources.create_container,
                "name platform",
                body=JSON,
                finishes=True,
            ),
            Route("POST /containers/prune", reading.prune, "filters stream"),
            Route("GET /containers/{container}/json", resources.inspect_container, "size"),
            Route("GET /containers/{container}/export", resources.own),
            Route("GET /containers/{container}/changes", resources.own),
            Route("GET /containers/{container}/top", resources.own, "ps_args"),
            Route("GET /containers/{container}/logs", resources.own, _LOGS),
            Route("GET /containers/{container}/stats", resources.own, "stream one-shot"),
            Route(
                "GET /containers/{container}/attach/ws",
                resources.own,
                _ATTACH,
                hijacks=b"websocket",
            ),
            Route("POST /containers/{container}/attach", resources.own, _ATTACH, hijacks=b"tcp"),
            Route("HEAD /containers/{container}/archive", resources.own, "path"),
            Route("GET /containers/{container}/archive", resources.own, "path"),
            Route(
                "PUT /containers/{container}/archive",
                resources.own,
                "path noOverwriteDirNonDir copyUIDGID",
                body=STREAM,
            ),
            Route("POST /containers/{container}/kill", resources.own, "signal"),
            Route("POST /containers/{container}/pause", resources.own),
            Route("POST /containers/{container}/unpause", resources.own),
            Route("POST /containers/{container}/restart", resources.own, "t signal"),
            Route("POST /containers/{container}/start", resources.own, "detachKeys"),
            Route("POST /containers/{container}/stop", resources.own, "t signal"),
            Route("POST /containers/{container}/wait", resources.own, "condition"),
            Route("POST /containers/{container}/resize", resources.own, "h w"),
            Route("POST /containers/{container}/rename", resources.own, "name"),
            Route("POST /containers/{container}/update", resources.update_container, body=JSON),
            Route("DELETE /containers/{container}", resources.own, "v force link"),
            Route("POST /containers/{container}/exec", resources.create_exec, body=JSON),
            Route("POST /exec/{exec}/start", resources.start_exec, body=JSON, hijacks=b"tcp"),
            Route("POST /exec/{exec}/resize", resources.own, "h w"),
            Route("GET /exec/{exec}/json", resources.own),
            # Networks.
            Route("POST /networks/create", resources.create_network, body=JSON, finishes=True),
            Route("POST /networks/prune", reading.prune, "filters stream"),
            Route("GET /networks/{network}", resources.inspect_network, "verbose scope"),
            Route("POST /networks/{network}/connect", resources.connect_network, body=JSON),
            Route("POST /networks/{network}/disconnect", resources.disconnect_network, body=JSON),
            Route("DELETE /networks/{network}", resources.own),
            # Volumes.
            Route("POST /volumes/create", resources.create_volume, body=JSON, finishes=True),
            Route("POST /volumes/prune", reading.prune, "filters stream"),
            Route("GET /volumes/{volume}", resources.own),
            Route("DELETE /volumes/{volume}", resources.remove_volume, "force"),
            # Images.
            Route("POST /build", builds.build, _BUILD, body=STREAM),
            Route(
                "POST /build/prune",
                builds.prune_builds,
                "all filters keep-storage reserved-space max-used-space min-free-space stream",
            ),
            Route("POST /build/cancel", builds.cancel_build, "id"),
            Route(
                "POST /commit",
                builds.commit,
                "container repo tag comment author pause changes",
                body=JSON,
                finishes=True,
            ),
            Route(
                "POST /images/create",
                images.pull_or_import,
                "fromImage fromSrc repo tag message changes platform",
                body=STREAM,
            ),
            Route("POST /images/load", images.load, "quiet platform", body=STREAM, finishes=True),
            Route("POST /images/prune", images.prune_images, "filters stream"),
            Route("POST /images/{image}/push", images.push, "tag platform", body=JSON),
            Route("POST /images/{image}/tag", images.tag, "repo tag force"),
            Route("DELETE /images/{image}", images.remove_image, "force noprune platforms"),
            # BuildKit. Its session serves the engine: it can't be used to ask anything of it.
            Route("POST /session", reading.session, hijacks=b"h2c"),
            Route("POST /grpc", builds.buildkit, hijacks=b"h2c"),
            # Checkpoints are read from and written to any directory of the host.
            *(
                Route(
                    f"{method} /containers/{{container}}/checkpoints{rest}",
                    reading.refused,
                    ANY,
                    body=ANY,
                )
                for method, rest in (("GET", ""), ("POST", ""), ("DELETE", f"/{names.OBJECT}"))
            ),
            # Swarm, as far as it makes something.
            Route("POST /swarm/init", swarm.enter, ANY, body=JSON, finishes=True),
            Route("POST /swarm/join", swarm.enter, ANY, body=JSON, finishes=True),
            Route("POST /swarm/leave", swarm.leave, "force"),
            Route("POST /services/create", swarm.create_service, ANY, body=JSON, finishes=True),
            Route("POST /services/{swarm}/update", swarm.update_service, ANY, body=JSON),
            Route("POST /secrets/create", swarm.create_labelled, ANY, body=JSON, finishes=True),
            Route("POST /configs/create", swarm.create_labelled, ANY, body=JSON, finishes=True),
            # The engine itself.
            *(
                Route(f"{method} /{kind}{rest}", reading.refused, ANY, body=ANY, allow=allow)
                for kind, allow in (
                    *(
                        (kind, "swarm")
                        for kind in ("swarm", "services", "nodes", "tasks", "secrets")
                    ),
                    ("configs", "swarm"),
                    ("plugins", "plugins"),
                )
                for method in ("GET", "POST", "DELETE")
                for rest in ("", "/{any}")
            ),
        )
    )
