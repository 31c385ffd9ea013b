"""The guard's rules field by field: what a field may be, and that no other spelling gets around."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_dind.guard.http.refusal import Refusal
from pytest_dind.guard.rules import mounts, networks
from pytest_dind.guard.rules.containers import Checks, joined
from pytest_dind.guard.rules.policy import Policy

from ..guard_policy import policy as _policy

_LABELS = {"run": "one"}


def _mount(policy: Policy, **mount: Any) -> Any:
    """The mount of a container as it is passed on, and the volumes that are made for it."""
    wanted = mounts.read({"Mounts": [mount]}, policy, _LABELS)
    return wanted.mounts[0], wanted.named


def _network(policy: Policy, **body: Any) -> Any:
    return networks.create({"Name": "n", **body}, policy)


def _endpoint(policy: Policy, **found: Any) -> Any:
    return networks.endpoint("E", found, policy)


def _volume(policy: Policy, **body: Any) -> Any:
    return mounts.volume(body, policy)


def _host(policy: Policy, **host: Any) -> Any:
    return Checks(policy).create({"HostConfig": host})


_REFUSED: list[tuple[Callable[..., Any], dict[str, Any], int, str]] = [
    # In the newer form of a bind, what the older one is refused for.
    (
        _mount,
        {"Type": "bind", "Source": "{root}", "BindOptions": {"Propagation": "shared"}},
        403,
        "the mount propagation shared is refused; to allow it, run pytest with "
        "--dind-guard-allow=propagation:shared",
    ),
    (
        _mount,
        {"Type": "bind", "Source": "{root}", "BindOptions": {"propagation": "shared"}},
        400,
        "HostConfig.Mounts[0].BindOptions.propagation is not how the API writes Propagation",
    ),
    (
        _mount,
        {"Type": "bind", "Source": "{root}", "BindOptions": {"New": 1}},
        403,
        "the field HostConfig.Mounts[0].BindOptions.New",
    ),
    (
        _mount,
        {"Type": "bind", "Source": "x"},
        400,
        "HostConfig.Mounts[0].Source is not an absolute path",
    ),
    (_mount, {"Type": "bind"}, 400, "HostConfig.Mounts[0].Source is not an absolute path"),
    (_mount, {"Type": "bind", "Source": "/etc"}, 403, "allow=bind:/etc"),
    (_mount, {"Type": 1}, 400, "HostConfig.Mounts[0].Type is not a string"),
    (_mount, {"Type": "bind", "ReadOnly": "no"}, 400, "ReadOnly is neither true nor false"),
    (_mount, {"Type": "npipe"}, 403, "HostConfig.Mounts[0], a mount of type 'npipe',"),
    (_mount, {}, 403, "HostConfig.Mounts[0], a mount of type '',"),
    (_mount, {"Type": "tmpfs", "New": 1}, 403, "the field HostConfig.Mounts[0].New"),
    # A volume that a mount makes.
    (
        _mount,
        {"Type": "volume", "VolumeOptions": {"DriverConfig": {"Name": "nfs"}}},
        403,
        "allow=volume-driver:nfs",
    ),
    (
        _mount,
        {
            "Type": "volume",
            "Source": "v",
            "VolumeOptions": {
                "DriverConfig": {"Options": {"type": "none", "o": "bind", "device": "/etc"}}
            },
        },
        403,
        "allow=bind:/etc",
    ),
    (
        _mount,
        {"Type": "volume", "VolumeOptions": {"DriverConfig": {"name": "nfs"}}},
        400,
        "VolumeOptions.DriverConfig.name is not how the API writes Name",
    ),
    (
        _mount,
        {"Type": "volume", "VolumeOptions": {"driverconfig": {"Name": "nfs"}}},
        403,
        "allow=volume-driver:nfs",
    ),
    (
        _mount,
        {"Type": "volume", "VolumeOptions": {"New": 1}},
        403,
        "the field HostConfig.Mounts[0].VolumeOptions.New",
    ),
    (
        _mount,
        {"Type": "volume", "VolumeOptions": {"DriverConfig": {"New": 1}}},
        403,
        "the field HostConfig.Mounts[0].VolumeOptions.DriverConfig.New",
    ),
    (_mount, {"Type": "volume", "Source": "../v"}, 400, "neither an absolute path nor a volume"),
    (_volume, {"Name": "../v"}, 400, "neither an absolute path nor a volume"),
    (
        _volume,
        {"Driver": "nfs"},
        403,
        "guard: the volume driver nfs is refused; to allow it, run pytest with "
        "--dind-guard-allow=volume-driver:nfs",
    ),
    (_volume, {"ClusterVolumeSpec": {"Group": "g"}}, 403, "the field ClusterVolumeSpec"),
    # A network, and what a container is connected by.
    (_network, {"Driver": "host"}, 403, "the network driver host"),
    (_network, {"Driver": 1}, 400, "Driver is not a string"),
    (_network, {"driver": "host"}, 400, "driver is not how the API writes Driver"),
    (_network, {"Options": {"parent": "eth0"}}, 403, "the network option parent"),
    (_network, {"Options": ["parent"]}, 400, "Options is not an object of strings"),
    (_network, {"IPAM": {"New": 1}}, 403, "the field IPAM.New"),
    (_network, {"IPAM": {"Options": 1}}, 400, "IPAM.Options is not an object of strings"),
    (_network, {"IPAM": {"Driver": 1}}, 400, "IPAM.Driver is not a string"),
    (_network, {"IPAM": {"Driver": "other"}}, 403, "the IPAM driver other"),
    (
        _network,
        {"ConfigOnly": True},
        403,
        "guard: a network that takes or gives another's settings",
    ),
    (_network, {"Ingress": True}, 403, "guard: a network of swarm's is refused"),
    (_volume, {"DriverOpts": {"mountpoint": "/etc"}}, 403, "the volume option mountpoint"),
    # Half of what a mount needs is checked as the whole.
    (_volume, {"DriverOpts": {"o": "bind"}}, 403, "allow=volume-options"),
    (
        _volume,
        {"DriverOpts": {"type": "ext4"}},
        403,
        "guard: a volume with these mount options: {'type': 'ext4'} is refused; to allow it, run "
        "pytest with --dind-guard-allow=volume-options",
    ),
    (_volume, {"DriverOpts": {"o": "addr=1"}}, 403, "allow=volume-options"),
    (_volume, {"DriverOpts": {"device": "/dev/vda"}}, 403, "allow=volume-options"),
    (_network, {"Ingress": 1}, 400, "Ingress is neither true nor false"),
    (_network, {"New": 1}, 403, "the field New"),
    (_endpoint, {"New": 1}, 403, "the field E.New"),
    (_endpoint, {"Aliases": "a"}, 400, "E.Aliases is not a list of strings"),
    (_endpoint, {"DriverOpts": []}, 400, "E.DriverOpts is not an object of strings"),
    (_endpoint, {"MacAddress": 1}, 400, "E.MacAddress is not a string"),
    # A container.
    (_host, {"Privileged": True}, 403, "privilege (HostConfig.Privileged)"),
    (_host, {"Privileged": 1}, 400, "HostConfig.Privileged is neither true nor false"),
    (_host, {"CapAdd": ["SYS_ADMIN"]}, 403, "the capability SYS_ADMIN"),
    (_host, {"CapAdd": "CHOWN"}, 400, "HostConfig.CapAdd is not a list of strings"),
    (_host, {"SecurityOpt": ["label=disable"]}, 403, "the security option label=disable"),
    (_host, {"SecurityOpt": "x"}, 400, "HostConfig.SecurityOpt is not a list of strings"),
    (_host, {"Sysctls": {"kernel.panic": "1"}}, 403, "the kernel parameter kernel.panic"),
    (_host, {"Sysctls": ["kernel.panic"]}, 400, "HostConfig.Sysctls is not an object of strings"),
    (_host, {"StorageOpt": ["size"]}, 400, "HostConfig.StorageOpt is not an object of strings"),
    (_host, {"Runtime": "other"}, 403, "the runtime other"),
    (_host, {"Runtime": 1}, 400, "HostConfig.Runtime is not a string"),
    (_host, {"Annotations": {"a": "b"}}, 403, "annotations (HostConfig.Annotations)"),
    (_host, {"Annotations": ["a"]}, 400, "HostConfig.Annotations is not an object of strings"),
    (_host, {"MaskedPaths": []}, 403, "a list of one's own in HostConfig.MaskedPaths"),
    (_host, {"CgroupParent": "/x"}, 403, "a cgroup parent (HostConfig.CgroupParent)"),
    (_host, {"CgroupParent": 1}, 400, "HostConfig.CgroupParent is not a string"),
    (_host, {"Devices": [{"PathOnHost": "/dev/kvm"}]}, 403, "the host's device /dev/kvm"),
    (_host, {"Devices": [{}]}, 403, "the host's device  is refused"),
    (_host, {"Devices": ["/dev/kvm"]}, 400, "HostConfig.Devices is not a list of objects"),
    (
        _host,
        {"DeviceCgroupRules": ["a *:* rwm"]},
        403,
        "access to devices by rules (HostConfig.DeviceCgroupRules)",
    ),
    (_host, {"LogConfig": {"Type": "syslog"}}, 403, "the logging driver syslog"),
    (_host, {"LogConfig": {"New": 1}}, 403, "the field HostConfig.LogConfig.New"),
    (_host, {"StorageOpt": {"size": "1g", "dm.x": "1"}}, 400, "has another option than size"),
    (_host, {"Binds": "/:/x"}, 400, "HostConfig.Binds is not a list of strings"),
    (_host, {"PidMode": "container:x", "privileged": True}, 400, "HostConfig.privileged"),
    (_host, {"CgroupnsMode": "container:x"}, 400, "HostConfig.CgroupnsMode has the value"),
    (_host, {"UsernsMode": "keep-id"}, 403, "allow=host-userns"),
    (_host, {"Devices": [{"New": 1}]}, 403, "the field HostConfig.Devices[0].New"),
    (_host, {"LogConfig": {"type": "syslog"}}, 400, "HostConfig.LogConfig.type"),
    (_host, {"PidMode": 1}, 400, "HostConfig.PidMode is not a string"),
    (_host, {"PidMode": "host"}, 403, "guard: the host's pid namespace (HostConfig.PidMode) is"),
]


@pytest.mark.parametrize(
    ("rule", "given", "status", "says"),
    _REFUSED,
    ids=[f"{rule.__name__}-{given}" for rule, given, _, _ in _REFUSED],
)
def test_refused(
    tmp_path: Path, rule: Callable[..., Any], given: dict[str, Any], status: int, says: str
) -> None:
    """Each is refused, by a text that names the field where it is."""
    root = tmp_path.resolve()
    given = {key: str(root) if value == "{root}" else value for key, value in given.items()}
    with pytest.raises(Refusal) as caught:
        rule(_policy(root), **given)

    assert (caught.value.status, says in caught.value.message) == (status, True), caught.value


_KEPT: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (
        _network,
        {
            "Driver": "bridge",
            "Scope": "local",
            "Internal": True,
            "Attachable": True,
            "EnableIPv4": True,
            "EnableIPv6": False,
            "CheckDuplicate": True,
            "Options": {"com.docker.network.driver.mtu": "1400"},
            "Labels": {"a": "b"},
            "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.9.0.0/24"}], "Options": {}},
        },
    ),
    (
        _endpoint,
        {
            "IPAMConfig": {"IPv4Address": "10.9.0.5"},
            "GwPriority": 1,
            "Links": ["a:b"],
            "Aliases": ["web"],
            "DNSNames": ["web"],
            "MacAddress": "02:00:00:00:00:01",
            "DriverOpts": {"a": "b"},
        },
    ),
    (
        _volume,
        {"Name": "v", "Driver": "local", "DriverOpts": {"size": "1g"}, "Labels": {"a": "b"}},
    ),
]


@pytest.mark.parametrize(("rule", "given"), _KEPT)
def test_kept(rule: Callable[..., Any], given: dict[str, Any]) -> None:
    """What is harmless is passed on whole."""
    assert rule(_policy(), **given).items() >= given.items()


def test_what_is_not_asked_for_is_not_added() -> None:
    """A network without settings of its own has none; its name is not taken twice."""
    assert _network(_policy()) == {"Name": "n", "CheckDuplicate": True}
    assert _network(_policy(guard="label")) == {"Name": "n"}
    assert _volume(_policy()) == {"DriverOpts": {}}


def test_bind_of_the_newer_form(tmp_path: Path) -> None:
    """A bind keeps what it says, but for the path: that is the real one, and made by nobody."""
    (tmp_path / "link").symlink_to(tmp_path)
    mount, named = _mount(
        _policy(tmp_path.resolve()),
        Type="bind",
        Source=f"{tmp_path}/link",
        Target="/in",
        BindOptions={"Propagation": "rslave", "CreateMountpoint": True, "NonRecursive": True},
    )
    assert mount == {
        "Type": "bind",
        "Source": str(tmp_path.resolve()),
        "Target": "/in",
        "BindOptions": {"Propagation": "rslave", "CreateMountpoint": False, "NonRecursive": True},
    }
    assert not named


@pytest.mark.parametrize(
    ("modes", "allowed"),
    [("ro,z,shared", "propagation:shared"), ("rshared", "propagation:rshared"), ("", "")],
)
def test_modes_of_a_bind(tmp_path: Path, modes: str, allowed: str) -> None:
    """Each mode counts, and there may be none."""
    root = tmp_path.resolve()
    bind = f"{root}:/in:{modes}"
    if allowed:
        with pytest.raises(Refusal, match=f"allow={allowed}"):
            mounts.read({"Binds": [bind]}, _policy(root), _LABELS)
    wanted = mounts.read({"Binds": [bind]}, _policy(root, allowed), _LABELS)
    assert wanted.binds == ([bind] if "z" in modes else [])
    assert [mount["BindOptions"]["Propagation"] for mount in wanted.mounts] == (
        [] if "z" in modes else [modes or "rprivate"]
    )


@pytest.mark.parametrize("field", ["VolumeDriver", "Binds"])
def test_mounts_of_other_types(field: str) -> None:
    """What is of another type is refused by its place."""
    with pytest.raises(Refusal, match=rf"^pytest-dind guard: HostConfig\.{field} is not a "):
        mounts.read({field: 1}, _policy(), _LABELS)


def test_volume_of_a_bind() -> None:
    """A volume that a bind names is made by the driver that is an engine's own."""
    wanted = mounts.read({"Binds": ["v:/in"]}, _policy(), _LABELS)
    assert wanted.named == {"v": {"Driver": "local"}}


def test_allowed_path_with_a_colon(tmp_path: Path) -> None:
    """A path that is allowed may have a colon in it."""
    path = tmp_path.resolve() / "a:b"
    path.mkdir()
    assert _policy(Path("/nowhere"), f"bind:{path}").bind(str(path)) == str(path)


def test_options_of_an_allowed_driver() -> None:
    """What another driver makes of its options is not known here: who allows it allows them."""
    policy = _policy(Path("/nowhere"), "volume-driver:other")
    options = {"share": "x", "type": "y"}
    assert _volume(policy, Driver="other", DriverOpts=options)["DriverOpts"] == options


def test_volumes_without_a_name_of_a_container() -> None:
    """They are made mounts with labels; all else stays, mistakes too, for the engine to report."""
    taken = {"Type": "tmpfs", "Target": "/taken/"}
    host = {"Binds": ["/bare", "v:/in", "/host:/in2", "mistake"], "Mounts": [taken]}
    options = {"Labels": {"run": "one", "com.docker.volume.anonymous": ""}}
    assert mounts.with_anonymous(host, ["/taken", "/own", "/in2"], [], _LABELS) == {
        "Binds": ["v:/in", "/host:/in2", "mistake"],
        "Mounts": [
            taken,
            {"Type": "volume", "Target": "/bare", "VolumeOptions": options},
            {"Type": "volume", "Target": "/own", "VolumeOptions": options},
        ],
    }


def test_commit() -> None:
    """The settings of a commit have the rules of a container's."""
    checks = Checks(_policy())
    body = {"Labels": {"a": "b"}, "Cmd": ["x"], "Volumes": {"/v": {}}}
    assert checks.commit(body) == body
    for bad, says in (({"New": 1}, "the field New,"), ({"Volumes": ["/v"]}, "Volumes is not an")):
        with pytest.raises(Refusal, match=f"^pytest-dind guard: {says}"):
            checks.commit(bad)


def test_fields_of_updates_and_commands() -> None:
    """A restart policy may be changed; a field that is not known is refused, by its name."""
    checks = Checks(_policy())
    body = {"RestartPolicy": {"Name": "no"}}
    assert checks.update(body) == body
    for check in (checks.update, checks.exec):
        with pytest.raises(Refusal, match=r"^pytest-dind guard: the field New,"):
            check({"New": 1})


def test_labelling_guard_keeps_unknown_fields() -> None:
    """The guard that labels alone passes on what it does not know."""
    assert _host(_policy(guard="label"), New=1)["HostConfig"] == {"New": 1}


def test_joined() -> None:
    """A mode that joins a container's namespace names it; no other does."""
    assert [joined(mode) for mode in ("container:x", "host", "", "xcontainer:x")] == [
        "x",
        "",
        "",
        "",
    ]


def test_paths_that_are_allowed_to_be_unmasked() -> None:
    """Where a list of one's own is allowed, it has to be a list."""
    policy = _policy(Path("/nowhere"), "unmasked-paths")
    assert _host(policy, MaskedPaths=["/a"])["HostConfig"] == {"MaskedPaths": ["/a"]}
    with pytest.raises(Refusal, match=r"HostConfig\.MaskedPaths is not a list of strings"):
        _host(policy, MaskedPaths="/a")


@pytest.mark.parametrize("volumes", [None, {}, {"/a": None}, {"/a": {}, "/b": {}}])
def test_volumes_without_a_name(volumes: Any) -> None:
    """The places of such volumes are passed on; none are an empty object."""
    assert Checks(_policy()).create({"Volumes": volumes})["Volumes"] == (volumes or {})


@pytest.mark.parametrize("volumes", [["/a"], "/a", {"/a": {"Source": "/"}}, {"/a": {}, "/b": 1}])
def test_volumes_that_say_more(volumes: Any) -> None:
    """They have nothing but their places."""
    with pytest.raises(Refusal, match=r"^pytest-dind guard: Volumes is not an object of empty"):
        Checks(_policy()).create({"Volumes": volumes})


def test_default_runtime() -> None:
    """The runtime that the engine takes by itself may be named, once it is known."""
    checks = Checks(_policy())
    body = {"HostConfig": {"Runtime": "crun-here"}}
    assert checks.asks_for_unusual_runtime(body)
    with pytest.raises(Refusal, match="the runtime crun-here"):
        checks.create(body)
    checks.learn_default_runtime("crun-here")
    assert not checks.asks_for_unusual_runtime(body)
    assert checks.create(body) == body


def test_what_is_checked_of_a_driver_is_passed_on(tmp_path: Path) -> None:
    """Of a volume's driver goes on what was checked: the real path, and no field unknown."""
    root = tmp_path.resolve()
    (root / "link").symlink_to(root)
    options = {"type": "none", "o": "bind", "device": f"{root}/link"}
    for given in ({"Options": options}, {"Name": "", "Options": options, "New": ""}):
        mount, _ = _mount(_policy(root), Type="volume", VolumeOptions={"DriverConfig": given})
        driver = mount["VolumeOptions"]["DriverConfig"]
        assert driver["Options"] == {**options, "device": str(root)}
        assert "New" not in driver


@pytest.mark.parametrize(
    "driver",
    [
        {"Name": "local", "Options": {}},
        {"Name": "other", "Options": {}},
        {"Options": {"type": "tmpfs", "device": "tmpfs"}},
    ],
)
def test_driver_of_a_mounts_volume(driver: dict[str, Any]) -> None:
    """A driver's name alone is kept, and so are its options alone."""
    mount, named = _mount(
        _policy(Path("/nowhere"), "volume-driver:other"),
        Type="volume",
        Source="v",
        VolumeOptions={"DriverConfig": driver},
    )
    assert mount["VolumeOptions"]["DriverConfig"] == driver
    assert named["v"]["Driver"] == driver.get("Name", "local")


def test_empty_fields_are_left_out() -> None:
    """Of a network's IPAM that is passed on which was checked; a volume's size is no harm."""
    assert _network(_policy(), IPAM={"Driver": "default", "New": ""})["IPAM"] == {
        "Driver": "default"
    }
    found = _host(_policy(), StorageOpt={"size": "1g"})
    assert found["HostConfig"] == {"StorageOpt": {"size": "1g"}}
    assert _host(_policy(guard="label"), StorageOpt={"x": "1"})["HostConfig"]["StorageOpt"]


def test_volume_of_a_mount() -> None:
    """A volume of a mount has the labels of the run, and keeps the options of its driver."""
    options = {
        "Labels": {"a": "b", "run": "theirs"},
        "NoCopy": True,
        "Subpath": "in",
        "DriverConfig": {"Name": "local", "Options": {"size": "1g"}},
    }
    mount, named = _mount(_policy(), Type="volume", Source="v", Target="/v", VolumeOptions=options)
    stamped = {"a": "b", "run": "one"}
    assert mount["VolumeOptions"] == {**options, "Labels": stamped}
    assert named == {"v": {"Driver": "local", "DriverOpts": {"size": "1g"}, "Labels": stamped}}


def test_plain_volume_of_a_mount() -> None:
    """A volume without a name or options gets labels alone, and is no one's to make."""
    mount, named = _mount(_policy(), Type="volume")
    assert mount == {"Type": "volume", "Target": "", "VolumeOptions": {"Labels": _LABELS}}
    assert not named


@pytest.mark.parametrize("kind", ["tmpfs", "image"])
def test_mount_of_nothing_of_the_host(kind: str) -> None:
    """A tmpfs and an image may be mounted as they are."""
    given = {"Type": kind, "Target": "/t", "Source": "x"}
    assert _mount(_policy(), **given)[0] == given


def test_labelling_guard_refuses_no_kind() -> None:
    """The guard that labels alone passes on a kind of mount that it does not know."""
    assert _mount(_policy(guard="label"), Type="npipe", Target="/t")[0]["Type"] == "npipe"
