"""What containers, mounts, volumes and networks may be, and what the refusals say."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dind import allowances
from pytest_dind.engine.own_container import Share, SharedFiles
from pytest_dind.guard.http.refusal import Refusal
from pytest_dind.guard.objects import run_labels
from pytest_dind.guard.rules import mounts, names, networks
from pytest_dind.guard.rules.containers import Checks
from pytest_dind.guard.rules.policy import Policy, real_roots
from pytest_dind.lifetime import labels

from ..guard_policy import policy as _policy

_LABELS = run_labels.RunLabels(
    labels.make("run", mode="socket", keep="never", home=Path("/base/run/main"))
)
_VOLUME = _LABELS.for_role(run_labels.VOLUME)


_REFUSED: list[tuple[str, Any, str]] = [
    ("Privileged", True, "privileged"),
    ("PidMode", "host", "host-pid"),
    ("IpcMode", "host", "host-ipc"),
    ("UTSMode", "host", "host-uts"),
    ("UsernsMode", "host", "host-userns"),
    ("CgroupnsMode", "host", "host-cgroupns"),
    ("NetworkMode", "host", "host-net"),
    ("CapAdd", ["cap_sys_admin"], "cap:SYS_ADMIN"),
    ("CapAdd", ["ALL"], "cap:ALL"),
    ("Devices", [{"PathOnHost": "/dev/fuse"}], "device:/dev/fuse"),
    ("DeviceCgroupRules", ["a *:* rwm"], "device-rules"),
    ("DeviceRequests", [{"Count": 1}], "device-rules"),
    ("SecurityOpt", ["seccomp=unconfined"], "security-opt:seccomp=unconfined"),
    ("Sysctls", {"kernel.shmmax2": "1"}, "sysctl:kernel.shmmax2"),
    ("Sysctls", {"net/../kernel/core_pattern": "1"}, "sysctl:net/../kernel/core_pattern"),
    ("LogConfig", {"Type": "fluentd"}, "log-driver:fluentd"),
    ("Runtime", "other", "runtime:other"),
    ("CgroupParent", "/x", "cgroup-parent"),
    ("Annotations", {"a": "b"}, "annotations"),
    ("MaskedPaths", [], "unmasked-paths"),
    ("ReadonlyPaths", ["/proc"], "unmasked-paths"),
]


@pytest.mark.parametrize(("field", "value", "allowed"), _REFUSED)
def test_refused_until_allowed(field: str, value: Any, allowed: str) -> None:
    """Each is refused with a text that says how to allow it; allowed, it passes."""
    body = {"Image": "i", "HostConfig": {field: value}}
    with pytest.raises(Refusal) as caught:
        Checks(_policy()).create(body)

    assert caught.value.status == 403
    assert caught.value.message.endswith(f"run pytest with --dind-guard-allow={allowed}")
    assert allowances.is_known(allowed)
    for policy in (_policy(Path("/nowhere"), allowed), _policy(guard="label")):
        assert Checks(policy).create(body)["HostConfig"][field] == value


@pytest.mark.parametrize(
    "host",
    [
        {"MaskedPaths": None, "ReadonlyPaths": None, "Privileged": False, "CapAdd": []},
        {"CapAdd": ["NET_BIND_SERVICE", "CAP_SYS_NICE"], "CapDrop": ["ALL"]},
        {"IpcMode": "shareable", "CgroupnsMode": "private", "PidMode": ""},
        {"IpcMode": "none", "CgroupnsMode": "", "UTSMode": "", "UsernsMode": "", "Cgroup": ""},
        {"IpcMode": "private", "NetworkMode": "mine"},
        {"IpcMode": "container:x", "NetworkMode": "container:x", "PidMode": "container:x"},
        {"IpcMode": "", "Mounts": [], "VolumeDriver": "local", "VolumesFrom": ["x:ro"]},
        {"Links": ["a:b"], "Runtime": "runc", "ReadonlyPaths": None},
        {"SecurityOpt": ["no-new-privileges"], "Sysctls": {"net.core.somaxconn": "1024"}},
        {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}},
        {"Memory": 1, "PortBindings": {"80/tcp": None}, "Tmpfs": {"/t": "size=1m"}, "Init": True},
    ],
)
def test_usual_settings(host: dict[str, Any]) -> None:
    """What usual clients ask for is passed on as it is."""
    assert Checks(_policy()).create({"HostConfig": host})["HostConfig"] == host


def test_settings_beside_those_of_the_host() -> None:
    """What stands beside HostConfig is kept too; docker-py's older place of a runtime is judged."""
    body = {"Image": "i", "NetworkingConfig": {"EndpointsConfig": {"n": {}}}, "Runtime": "runc"}
    assert Checks(_policy()).create(body) == {**body, "HostConfig": {}}
    with pytest.raises(Refusal, match="the runtime other"):
        Checks(_policy()).create({"Runtime": "other"})
    for unknown in ({"New": 1}, {"HostConfig": {"New": 1}}):
        with pytest.raises(Refusal, match=r"the field (HostConfig\.)?New,"):
            Checks(_policy()).create(unknown)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("PidMode", "hOsT"),
        ("IpcMode", "host "),
        ("Cgroup", "x"),
        ("UTSMode", "x"),
        ("CgroupnsMode", "x"),
    ],
)
def test_unknown_namespace(field: str, value: str) -> None:
    """A namespace that is not known is refused as malformed."""
    with pytest.raises(Refusal, match="is not known"):
        Checks(_policy()).create({"HostConfig": {field: value}})


def test_update_and_exec() -> None:
    """Updates and commands have rules of their own, with the same fields refused."""
    checks = Checks(_policy())

    assert checks.update({"Memory": 5}) == {"Memory": 5}
    assert checks.exec({"Cmd": ["a"], "Privileged": False, "Container": "x"}) == {
        "Cmd": ["a"],
        "Privileged": False,
    }
    with pytest.raises(Refusal, match="privileged"):
        checks.exec({"Privileged": True})
    with pytest.raises(Refusal, match="the field Binds"):
        checks.update({"Binds": ["/:/x"]})


def test_keys_to_detach() -> None:
    """docker-py writes them in lower case, where the docker CLI's configuration has some."""
    given = {"Cmd": ["x"], "detachKeys": "ctrl-x"}
    assert Checks(_policy()).exec(given) == given


def test_root_of_the_machine(tmp_path: Path) -> None:
    """A project's root that is the machine's does not let everything be bound."""
    assert real_roots(["/", "/..", str(tmp_path)]) == (str(tmp_path.resolve()),)


def _read(policy: Policy, **host: Any) -> mounts.Wanted:
    return mounts.read(host, policy, _VOLUME)


def test_bind_becomes_a_mount(tmp_path: Path) -> None:
    """A path is bound by its real name, as a mount: an engine that does not see it then says so."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    wanted = _read(_policy(tmp_path.resolve()), Binds=[f"{tmp_path}/link:/in:ro"])

    assert wanted.binds == []
    assert wanted.mounts == [
        {
            "Type": "bind",
            "Source": str(tmp_path.resolve() / "real"),
            "Target": "/in",
            "ReadOnly": True,
            "BindOptions": {"Propagation": "rprivate"},
        }
    ]


def test_bind_that_is_relabelled(tmp_path: Path) -> None:
    """A bind for SELinux has no newer form, so it stays as it is."""
    wanted = _read(_policy(tmp_path.resolve()), Binds=[f"{tmp_path}:/in:z"])

    assert wanted.binds == [f"{tmp_path.resolve()}:/in:z"]


@pytest.mark.parametrize(
    ("bind", "status", "says"),
    [
        ("/etc:/in", 403, "--dind-guard-allow=bind:/etc"),
        ("{root}/../..:/in", 403, "--dind-guard-allow="),
        ("{root}/missing:/in", 400, "bind source path does not exist: {root}/missing"),
        ("{root}:/in:rshared", 403, "--dind-guard-allow=propagation:rshared"),
        ("{root}:/in:odd", 400, "modes are not known"),
        ("a:b:c:d", 400, "not SOURCE:TARGET"),
        (":/in", 400, "not SOURCE:TARGET"),
        ("../x:/in", 400, "neither an absolute path"),
        ("~/x:/in", 400, "neither an absolute path"),
    ],
)
def test_bind_that_is_refused(tmp_path: Path, bind: str, status: int, says: str) -> None:
    """A bind out of the root, of nothing, or that is not understood is refused."""
    root = tmp_path.resolve()
    with pytest.raises(Refusal) as caught:
        _read(_policy(root), Binds=[bind.format(root=root)])

    assert caught.value.status == status
    assert says.format(root=root) in caught.value.message


def test_bind_of_sockets() -> None:
    """The guard's socket may be bound; the directory of all runs not, nor the engine's socket."""
    with pytest.raises(Refusal, match="does not exist"):
        _policy(Path("/base")).bind("/base/run/main/docker.sock")
    with pytest.raises(Refusal, match="allow=socket"):
        _policy(Path("/"), "bind:/").bind("/var/run")


def test_bind_below_the_private_directory(tmp_path: Path) -> None:
    """The sockets of other runs can't be bound, though they are in the temp dir."""
    policy = Policy("own", frozenset(), (str(tmp_path),), "/e", "/s", str(tmp_path / "runs"))
    (tmp_path / "runs" / "other").mkdir(parents=True)

    assert policy.bind(str(tmp_path)) == str(tmp_path)
    with pytest.raises(Refusal, match="where the sockets of all runs are"):
        policy.bind(str(tmp_path / "runs" / "other"))


def test_bind_that_may_only_be_read(tmp_path: Path) -> None:
    """A root that is read-only may be bound so, in each form; the deepest root decides."""
    for name in ("ro/rw/ro", "other"):
        (tmp_path / name).mkdir(parents=True)
    root = tmp_path.resolve()
    policy = Policy(
        "own",
        frozenset(),
        (f"{root}/ro/rw",),
        "/e",
        "/s",
        "/base",
        read_only=(f"{root}/ro", f"{root}/ro/rw/ro"),
    )

    def volume(flags: str) -> Any:
        options = {"type": "none", "o": flags, "device": f"{root}/ro"}
        return mounts.driver_options("", options, policy)

    assert volume("bind,ro")
    bind = {"Type": "bind", "Source": f"{root}/ro", "Target": "/in"}
    wanted = _read(
        policy, Binds=[f"{root}/ro:/a:ro", f"{root}/ro/rw:/b"], Mounts=[{**bind, "ReadOnly": True}]
    )
    assert [mount["ReadOnly"] for mount in wanted.mounts] == [True, False, True]
    with pytest.raises(Refusal, match="which is outside of"):
        policy.bind(f"{root}/other", writes=False)
    for attempt in (
        lambda: _read(policy, Binds=[f"{root}/ro:/a"]),
        lambda: _read(policy, Binds=[f"{root}/ro/rw/ro:/a:rw"]),
        lambda: _read(policy, Mounts=[bind]),
        lambda: volume("bind"),
    ):
        with pytest.raises(Refusal, match="that is not read-only") as caught:
            attempt()
        assert f"allow=bind:{root}/ro" in caught.value.message


def _contained(root: Path, *allowed: str) -> Policy:
    """The policy of a guard in a container that has two mounts, all of which may be bound."""
    for name in ("shared/in", "fixed", "own", "sockets", "all"):
        (root / name).mkdir(parents=True)
    shares = [
        Share(f"{root}/shared", "/host/shared"),
        Share(f"{root}/fixed", "/host/fixed", read_only=True),
        Share(f"{root}/e", "/var/run/docker.sock"),
        Share(f"{root}/sockets", "/host/sockets"),
        Share(f"{root}/all", "/"),
    ]
    return Policy(
        "own",
        frozenset(allowed),
        (str(root),),
        f"{root}/e",
        f"{root}/sockets/run/main/s",
        f"{root}/sockets",
        shared=SharedFiles(shares),
    )


def test_bind_in_a_container(tmp_path: Path) -> None:
    """What is mounted in the tests' container is bound by the engine's path, in each form."""
    root = tmp_path.resolve()
    policy = _contained(root)
    (root / "own" / "link").symlink_to(root / "shared" / "in")
    for path in ("sockets/run/main/s", "shared/file"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()

    wanted = _read(
        policy,
        Binds=[f"{root}/shared:/a", f"{root}/own/link:/b:ro", f"{root}/shared/file:/c:z"],
        Mounts=[{"Type": "bind", "Source": f"{root}/fixed", "Target": "/d", "ReadOnly": True}],
    )
    sources = [mount["Source"] for mount in wanted.mounts]
    assert sources == ["/host/shared", "/host/shared/in", "/host/fixed"]
    assert wanted.binds == ["/host/shared/file:/c:z"]
    volume = {"type": "none", "o": "bind", "device": f"{root}/shared/in"}
    assert mounts.driver_options("", volume, policy)["device"] == "/host/shared/in"
    # The guard's own socket.
    assert policy.bind(f"{root}/sockets/run/main/s") == "/host/sockets/run/main/s"


@pytest.mark.parametrize("allowed", [[], ["bind:/"]])
def test_bind_of_what_a_container_has_alone(tmp_path: Path, allowed: list[str]) -> None:
    """The engine would bind its own path of that name: refused with the cause, and its remedy."""
    root = tmp_path.resolve()
    policy = _contained(root, *allowed)
    (root / "shared" / "out").symlink_to(root / "own")
    (root / "shared" / "etc").symlink_to("/etc")
    for path in (f"{root}/own", f"{root}/shared/out", f"{root}/shared/etc", str(root)):
        with pytest.raises(Refusal, match="in the tests' container alone") as caught:
            policy.bind(path)
        assert caught.value.status == 403
        assert "docker run -v DIRECTORY:DIRECTORY" in caught.value.message
    with pytest.raises(Refusal) as caught:
        policy.bind(f"{root}/shared/etc")
    assert caught.value.message.startswith(
        f"pytest-dind guard: a bind of {root}/shared/etc is refused: the path is in the tests' "
        "container alone, and the engine would bind its own machine's path of that name; to have"
    )
    (root / "to-fixed").symlink_to(root / "fixed")
    with pytest.raises(Refusal) as caught:
        policy.bind(f"{root}/to-fixed")
    assert caught.value.message.startswith(
        f"pytest-dind guard: a bind of {root}/to-fixed that is not read-only is refused: the "
        f"tests' container has {root}/fixed read-only; to have"
    )


def test_path_of_a_machine_below_var(tmp_path: Path) -> None:
    """Only /var/run is a link on each machine: another directory of /var is what it says."""
    root = tmp_path.resolve()
    for name in ("data", "e"):
        (root / name).mkdir()
    shares = [Share(f"{root}/data", "/var/lib"), Share(f"{root}/e", "/lib/e")]
    shared = SharedFiles(shares)
    policy = Policy("own", frozenset(), (str(root),), f"{root}/e", "/s", "/b", shared=shared)
    assert policy.bind(f"{root}/data") == "/var/lib"
    with pytest.raises(Refusal, match=f"a bind of {root}/e, which is or has the engine's socket,"):
        policy.bind(f"{root}/e")


def test_bind_outside_of_all_roots(tmp_path: Path) -> None:
    """The refusal names what may be bound."""
    policy = Policy("own", frozenset(), ("/one", "/two"), "/e", "/s", "/b", ("/three",))
    with pytest.raises(Refusal, match="which is outside of /one and /two and /three, is refused"):
        policy.bind(str(tmp_path))


def test_sockets_by_another_mount(tmp_path: Path) -> None:
    """The engine's socket, and those of runs, can't be bound by another mount of theirs."""
    root = tmp_path.resolve()
    policy = _contained(root)
    for path in ("run", "var/run", "host/sockets/run", "host/other"):
        (root / "all" / path).mkdir(parents=True)

    assert policy.bind(f"{root}/all/host/other") == "/host/other"
    for path in ("", "run", "var/run"):
        with pytest.raises(Refusal, match="allow=socket"):
            policy.bind(f"{root}/all/{path}")
    for path in (f"{root}/all/host/sockets/run", f"{root}/sockets"):
        with pytest.raises(Refusal, match="where the sockets of all runs are"):
            policy.bind(path)


def test_no_bind_at_all(tmp_path: Path) -> None:
    """Without any mount, the refusal says so."""
    with pytest.raises(Refusal, match="which is of no --dind-mount"):
        Policy("own", frozenset(), (), "/e", "/s", "/base").bind(str(tmp_path))


@pytest.mark.parametrize("allowed", [(), ("bind:/",)], ids=["none", "all"])
def test_bind_whose_link_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: tuple[str, ...]
) -> None:
    """A link that the guard may not follow could lead anywhere, and the engine follows it."""

    def refuse(path: object, **how: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "link").symlink_to("/")
    policy = _policy(tmp_path, *allowed)
    monkeypatch.setattr(os, "readlink", refuse)
    with pytest.raises(Refusal) as caught:
        policy.bind(str(tmp_path / "link" / "etc"))

    assert caught.value.status == 403
    assert "link/etc, which can't be followed (Permission denied), is refused" in str(caught.value)


def test_allowed_bind(tmp_path: Path) -> None:
    """A path that is allowed is, with what is below it, and no path that only begins alike."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data2").mkdir()
    policy = _policy(Path("/nowhere"), f"bind:{tmp_path}/data")

    assert policy.bind(f"{tmp_path}/data") == str((tmp_path / "data").resolve())
    with pytest.raises(Refusal):
        policy.bind(f"{tmp_path}/data2")


def test_volumes_are_stamped() -> None:
    """Volumes with a name are to be made first; those without have their labels in the mount.

    The driver of the container is theirs, but not that of those that are mounts already.
    """
    wanted = _read(
        _policy(Path("/nowhere"), "volume-driver:some-driver"),
        Binds=["named:/a", "/bare", "/twice", "/twice"],
        VolumeDriver="some-driver",
        Mounts=[
            {"Type": "volume", "Target": "/c", "VolumeOptions": {"Labels": {"x": "y"}}},
            {"Type": "volume", "Source": "other", "Target": "/d"},
        ],
    )
    host = mounts.with_anonymous(
        {
            "Binds": wanted.binds,
            "Mounts": wanted.mounts,
            "Tmpfs": {"/f": ""},
            "VolumeDriver": "some-driver",
        },
        ["/a/", "/e", "/f", "/inherited", "/twice"],
        ["/inherited/"],
        _VOLUME,
    )

    assert {name: made["Driver"] for name, made in wanted.named.items()} == {
        "named": "some-driver",
        "other": "local",
    }
    assert host["Binds"] == ["named:/a", "/twice", "/twice"]
    targets = {mount["Target"]: mount["VolumeOptions"]["Labels"] for mount in host["Mounts"]}
    # As the engine has it on those that it makes itself.
    anonymous = {**_VOLUME, "com.docker.volume.anonymous": ""}
    assert targets == {
        "/bare": anonymous,
        "/c": {"x": "y", **_VOLUME},
        "/d": _VOLUME,
        "/e": anonymous,
    }
    drivers = {
        mount["Target"]: mount["VolumeOptions"].get("DriverConfig") for mount in host["Mounts"]
    }
    assert drivers == {
        "/bare": {"Name": "some-driver"},
        "/c": None,
        "/d": None,
        "/e": {"Name": "some-driver"},
    }


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({"type": "none", "o": "bind", "device": "/etc"}, "bind:/etc"),
        ({"type": "none", "o": "ro,rbind", "device": "/etc"}, "bind:/etc"),
        ({"type": "tmpfs", "o": "bind", "device": "tmpfs"}, "volume-options"),
        ({"type": "nfs", "o": "addr=10.0.0.1", "device": ":/x"}, "volume-options"),
        ({"type": "ext4", "device": "/dev/vda"}, "volume-options"),
        ({"type": "none", "o": "bind,remount", "device": "/etc"}, "volume-options"),
        ({"mountpoint": "/etc"}, "volume-options"),
        ({"type": "tmpfs", "device": "tmpfs", "o": "size=1m,remount"}, "volume-options"),
    ],
)
def test_volume_of_the_host(options: dict[str, str], allowed: str) -> None:
    """Volumes that would mount something of the host are refused."""
    with pytest.raises(Refusal, match=f"--dind-guard-allow={allowed}"):
        mounts.volume({"Name": "v", "DriverOpts": options}, _policy())


def test_volume_of_its_own() -> None:
    """Plain volumes and tmpfs ones are made, with a quota too."""
    tmpfs = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,ro"}
    for options in ({}, {"size": "1g"}, tmpfs, {"type": "tmpfs"}):
        assert mounts.volume({"DriverOpts": options}, _policy())["DriverOpts"] == options


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"Driver": "macvlan"}, "network-driver:macvlan"),
        ({"Options": {"com.docker.network.bridge.name": "eth0"}}, "network-option"),
        ({"IPAM": {"Driver": "other"}}, "network-driver:other"),
        ({"Scope": "swarm"}, "swarm"),
        ({"Ingress": True}, "swarm"),
        ({"ConfigFrom": {"Network": "x"}}, "another's settings"),
    ],
)
def test_network_of_the_host(body: dict[str, Any], says: str) -> None:
    """Networks that reach into the host are refused."""
    with pytest.raises(Refusal, match=says):
        networks.create({"Name": "n", **body}, _policy())


def test_network_of_its_own() -> None:
    """A bridge is made, and only if no network has its name."""
    body = {"Name": "n", "Driver": "bridge", "IPAM": {"Config": [{"Subnet": "10.9.0.0/24"}]}}

    assert networks.create(body, _policy()) == {**body, "CheckDuplicate": True}


def test_endpoint_names_no_network_of_its_own() -> None:
    """What an engine reports of an endpoint is left out: it prefers the id there to the name."""
    given = {"Aliases": ["a"], "NetworkID": "f" * 64, "IPAddress": "10.0.0.1"}

    assert networks.endpoint("E", given, _policy()) == {"Aliases": ["a"]}


@given(st.dictionaries(st.text(min_size=1), st.dictionaries(st.text(), st.just(True))))
def test_filters_always_select_ones_own(given_filters: dict[str, dict[str, bool]]) -> None:
    """Whatever a client filters by, the run's own label is among it, in each of the two forms."""
    import json

    for form in (given_filters, {key: list(values) for key, values in given_filters.items()}):
        try:
            found = json.loads(_LABELS.filters(run_labels.CONTAINER, json.dumps(form)))
        except Refusal:
            continue
        assert found["label"][f"{labels.HOME}=/base/run/main"] is True
        assert found["label"][f"{labels.ROLE}=container"] is True


@given(st.dictionaries(st.text(), st.text()))
def test_builds_always_have_the_labels(given_labels: dict[str, str]) -> None:
    """Whatever labels a client gives, those of the run win."""
    import json

    stamped = _LABELS.for_role(run_labels.IMAGE)
    try:
        found = json.loads(run_labels.with_labels(json.dumps(given_labels), stamped))
    except Refusal:
        return
    assert {key: found[key] for key in stamped} == stamped


def test_roles_do_not_mix() -> None:
    """A container of an image that a test made has its labels, but is not the test's."""
    inherited = _LABELS.for_role(run_labels.IMAGE)

    assert _LABELS.owns(run_labels.IMAGE, inherited)
    assert not _LABELS.owns(run_labels.CONTAINER, inherited)
    assert not _LABELS.owns(run_labels.CONTAINER, None)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        (("busybox", ""), "busybox:latest"),
        (("docker.io/library/busybox", "1"), "busybox:1"),
        (("docker.io/a/b", ""), "a/b:latest"),
        (("library/busybox", ""), "busybox:latest"),
        (("docker.io/library/a/b", ""), "library/a/b:latest"),
        (("localhost:5000/a", ""), "localhost:5000/a:latest"),
        (("localhost:5000/a:x", ""), "localhost:5000/a:x"),
        (("a", "sha256:" + "0" * 64), "a@sha256:" + "0" * 64),
    ],
)
def test_full_names(name: tuple[str, str], full: str) -> None:
    """An image's name is compared as engines list it."""
    assert names.full(*name) == full


_DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("name", "tag"), [("a:1", "1"), (f"a@{_DIGEST}", _DIGEST), ("r:5000/a:1", "1")]
)
def test_same_tag_twice(name: str, tag: str) -> None:
    """A tag that stands in the name, too, is the same one; half of a longer one is not."""
    assert names.full(name, tag) == name
    with pytest.raises(Refusal, match="has a tag already"):
        names.full(name, tag[1:] or "x")


@pytest.mark.parametrize("name", ["a:1", "localhost:5000/a:1", "a@sha256:0"])
def test_two_tags(name: str) -> None:
    """A name with a tag takes no other: engines would put the second in the first one's place."""
    with pytest.raises(Refusal, match="has a tag already"):
        names.full(name, "2")


@pytest.mark.parametrize("name", ["", "../a", "a//b", "a b", "a:", "-a", "a\n"])
def test_no_names(name: str) -> None:
    """What can be no image's name is refused."""
    with pytest.raises(Refusal, match="no image's name"):
        names.full(name)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("1970-01-01T00:00:07.25Z", 7.25),
        ("1970-01-01T00:00:07.123456789Z", 7.123456789),
        ("1970-01-01T00:00:07Z", 7),
        ("", 0),
    ],
)
def test_when_an_image_was_made(told: str, seconds: float) -> None:
    """The fraction of a second counts: a guard's first steps of a build are its own."""
    assert run_labels.created({"Created": told}) == seconds
