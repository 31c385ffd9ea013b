"""The settings: where values come from, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from pytest_dind import Settings, SettingsError
from pytest_dind.backends.registry import AUTO_ORDER, isolates
from pytest_dind.options import from_config
from pytest_dind.settings import AUTO, MODES, option
from pytest_dind.validation import MOST_SECONDS, is_seconds, shown, variables


def _read(pytester: pytest.Pytester, *options: str, ini: str = "") -> Settings:
    pytester.makeini(f"[pytest]\n{ini}")
    return from_config(pytester.parseconfig(*options))


def test_defaults(pytester: pytest.Pytester) -> None:
    """Without options and ini keys, the defaults of the contract hold."""
    contract = {
        "mode": "auto",
        "image": "docker:dind",
        "host": "",
        "timeout": 60,
        "arg": (),
        "publish": (),
        "forward": "auto",
        "load": (),
        "memory": "",
        "cpus": "",
        "registry_mirror": (),
        "insecure_registry": (),
        "env": (),
        "ca": (),
        "leaks": "report",
        "cache": "on",
        "cache_size": "10g",
        "scope": "session",
        "keep": "never",
        "reuse": "",
        "spares": 1,
        "require": (),
        "logs": "failed",
        "log_lines": 20,
        "guard": "own",
        "guard_allow": (),
        "unavailable": "fail",
        "doctor": "off",
    }
    assert dataclasses.asdict(_read(pytester)).items() >= contract.items()


@pytest.mark.parametrize(
    ("ini", "expected"),
    [
        ("dind_mode = dind", {"mode": "dind"}),
        ("dind_image = some:tag", {"image": "some:tag"}),
        ("dind_host = unix:///x", {"host": "unix:///x"}),
        ("dind_timeout = 7.5", {"timeout": 7.5}),
        ("dind_arg =\n  --debug\n  --mtu=1400", {"arg": ("--debug", "--mtu=1400")}),
        ("dind_publish =\n  80\n  81/udp", {"publish": ("80", "81/udp")}),
        ("dind_load = a\n  b", {"load": ("a", "b")}),
        ("dind_memory = 2g", {"memory": "2g"}),
        ("dind_cpus = 1.5", {"cpus": "1.5"}),
        ("dind_registry_mirror = http://m:5000", {"registry_mirror": ("http://m:5000",)}),
        ("dind_insecure_registry = r:5000", {"insecure_registry": ("r:5000",)}),
        ("dind_env =\n  A=b c\n  D", {"env": ("A=b c", "D")}),
        ("dind_ca =\n  ca.pem\n  r:1=x", {"ca": ("ca.pem", "r:1=x")}),
        ("dind_leaks = fail", {"leaks": "fail"}),
        ("dind_cache = off", {"cache": "off"}),
        ("dind_cache_size = 500m", {"cache_size": "500m"}),
        ("dind_scope = worker", {"scope": "worker"}),
        ("dind_keep = always", {"keep": "always"}),
        ("dind_reuse = mine", {"reuse": "mine"}),
        ("dind_logs = all", {"logs": "all"}),
        ("dind_spares = 3", {"spares": 3}),
        ("dind_log_lines = 5", {"log_lines": 5}),
        ("dind_guard = label", {"guard": "label"}),
        ("dind_guard_allow =\n  bind:/x\n  cap:ALL", {"guard_allow": ("bind:/x", "cap:ALL")}),
        ("dind_unavailable = skip", {"unavailable": "skip"}),
    ],
)
def test_ini_over_default(pytester: pytest.Pytester, ini: str, expected: dict[str, Any]) -> None:
    """An ini key sets what its option sets."""
    assert _read(pytester, ini=ini) == Settings(**expected)


def test_command_line_over_ini(pytester: pytest.Pytester) -> None:
    """The command line wins over the ini file; a list replaces the other, it adds nothing."""
    found = _read(
        pytester,
        "--dind-image=cli:tag",
        "--dind-load=c",
        "--dind-load=d",
        ini="dind_image = ini:tag\ndind_load = a\n  b",
    )

    assert (found.image, found.load) == ("cli:tag", ("c", "d"))


def test_empty_value_on_the_command_line_wins(pytester: pytest.Pytester) -> None:
    """An empty value given on the command line is a value: it wins over the ini key."""
    found = _read(
        pytester,
        "--dind-host=",
        "--dind-load=",
        "--dind-arg=",
        ini="dind_host = unix:///x\ndind_load = a\ndind_arg = --debug",
    )

    assert (found.host, found.load, found.arg) == ("", (), ())


def test_false_value_on_the_command_line_wins(pytester: pytest.Pytester) -> None:
    """A timeout of 0 is not taken for "not given": it is refused, not replaced by the ini key's."""
    with pytest.raises(SettingsError, match=r"--dind-timeout: 0\.0 is not a valid value"):
        _read(pytester, "--dind-timeout=0", ini="dind_timeout = 30")


@pytest.mark.parametrize(
    ("option", "valid"),
    [
        ("--dind-mode=dnid", [AUTO, *MODES]),
        ("--dind-mode=", [AUTO, *MODES]),
        ("--dind-image=", ["an image's name, such as docker:dind"]),
        ("--dind-image=UPPER", ["lower case", "an image's name, such as docker:dind"]),
        ("--dind-image=a b", ["an image's name, such as docker:dind"]),
        ("--dind-load=UPPER:1", ["lower case", "an image's name, such as docker:dind"]),
        ("--dind-load=a:b:c", ["an image's name, such as docker:dind"]),
        ("--dind-host=tcp://", ["It names no host", "tcp://HOST:PORT"]),
        ("--dind-host=tcp://:2375", ["It names no host", "tcp://HOST:PORT"]),
        ("--dind-host=tcp://h:99999", ["Port out of range", "tcp://HOST:PORT"]),
        ("--dind-host=ssh://", ["It names no host", "ssh://[USER@]HOST"]),
        ("--dind-host=unix://", ["It names no socket", "unix://PATH"]),
        ("--dind-host=ftp://h", ["no way to an engine by ftp://", "a context's name"]),
        ("--dind-host=h:2375", ["No context has such a name", "tcp://HOST:PORT"]),
        ("--dind-memory=9999999999999t", ["a size such as 512m or 2g"]),
        ("--dind-cache-size=9999999999999t", ["a size such as 500m or 10g"]),
        ("--dind-cpus=" + "9" * 400, ["a number above 0, such as 1.5"]),
        ("--dind-arg=\udcff", ["a text that UTF-8 has"]),
        ("--dind-timeout=1e300", ["not above 1000000"]),
        ("--dind-timeout=soon", ["a number of seconds above 0, such as 60"]),
        ("--dind-timeout=-1", ["a number of seconds above 0, such as 60"]),
        ("--dind-timeout=nan", ["a number of seconds above 0, such as 60"]),
        ("--dind-timeout=inf", ["a number of seconds above 0, such as 60"]),
        ("--dind-unavailable=ignore", ["fail", "skip"]),
        ("--dind-guard=off", ["own", "label"]),
        ("--dind-guard-allow=everything", ["privileged", "bind:/path", "cap:NAME"]),
        ("--dind-guard-allow=bind:relative", ["bind:/path"]),
        ("--dind-guard-allow=cap:", ["cap:NAME"]),
        ("--dind-guard-allow=privileged:yes", ["privileged"]),
        ("--dind-scope=module", ["session", "worker"]),
        ("--dind-keep=yes", ["never", "on-failure", "always"]),
        ("--dind-reuse=a/b", ["1 to 22 letters, digits, _ and -"]),
        ("--dind-reuse=12345678901234567890123", ["1 to 22 letters, digits, _ and -"]),
        ("--dind-publish=http", ["a port (8080)", "a range (8000-8010)", "udp (53/udp)"]),
        ("--dind-publish=0", ["a port (8080)"]),
        ("--dind-publish=65536", ["a port (8080)"]),
        ("--dind-publish=81-80", ["a range (8000-8010)"]),
        ("--dind-publish=80/sctp", ["udp (53/udp)"]),
        ("--dind-publish=8080:80", ["a port (8080)"]),
        ("--dind-env==x", ["NAME=VALUE", "NAME, for the value that this process has"]),
        ("--dind-env=A B=x", ["NAME=VALUE"]),
    ],
)
def test_bad_value(pytester: pytest.Pytester, option: str, valid: list[str]) -> None:
    """A bad value's error names the option, the ini key, and every valid value."""
    name = option.partition("=")[0]
    with pytest.raises(SettingsError) as caught:
        _read(pytester, option)

    text = str(caught.value)
    assert text.startswith(f"{name}: ")
    assert name[2:].replace("-", "_") in text
    assert not [value for value in valid if value not in text]


def test_mode_without_isolation() -> None:
    """`auto` has the isolated modes to choose from: all but the engine itself."""
    assert [mode for mode in MODES if not isolates(mode)] == ["socket"]
    assert set(AUTO_ORDER) == set(MODES) - {"socket"}
    assert Settings(mode="socket").mode == "socket"


@pytest.mark.parametrize(
    "arg",
    [
        "--data-root=/x",
        "--data-root",
        "--data-root /x",
        "--graph=/x",
        "--graph",
        "-g",
        "-g=/x",
        "-g/x",
        "-Dg/x",
    ],
)
def test_data_root_is_not_taken(arg: str) -> None:
    """A data-root of the user's own is refused: two daemons on one would destroy it."""
    with pytest.raises(SettingsError) as caught:
        Settings().replace(arg=["--debug", arg])

    assert f"--dind-arg: {arg!r} is not taken." in str(caught.value)
    assert "Each daemon has its data-root on a volume of its own" in str(caught.value)
    assert caught.value.evidence.endswith("own; two daemons on one data-root destroy it.")
    how = "Have images in the daemon from the start with --dind-load IMAGE."
    assert caught.value.remedy == (how,)


@pytest.mark.parametrize(
    "arg",
    ["--debug", "-D", "--group=1", "-Gdocker", "--label=-g", "--data-root-x", "-l=debug", "g"],
)
def test_argument_that_is_no_data_root(arg: str) -> None:
    """An argument that only looks a little like a data-root is taken."""
    assert Settings(arg=(arg,)).arg == (arg,)


def test_commas(pytester: pytest.Pytester) -> None:
    """Where an option says so, one text holds several values, each of them checked."""
    assert _read(pytester, "--dind-require=sysbox, engine").require == ("sysbox", "engine")
    with pytest.raises(SettingsError, match="'sysbx' is not a valid value"):
        _read(pytester, "--dind-require=all,sysbx")


def test_string_where_a_list_belongs() -> None:
    """A string is not taken for a list of its letters."""
    with pytest.raises(SettingsError, match=re.escape("Valid: a list of values, such as ['abc']")):
        Settings().replace(load="abc")


def test_replace() -> None:
    """A copy has the changes, lists as tuples; the original stays as it was."""
    before = Settings(image="a")
    after = before.replace(load=["x"], timeout=5)

    assert after == Settings(image="a", load=("x",), timeout=5)
    assert before == Settings(image="a")


@pytest.mark.parametrize("timeout", [0, -1, "60", None])
def test_replace_validates(timeout: object) -> None:
    """A copy is validated like the options themselves, types included."""
    with pytest.raises(SettingsError, match=f"--dind-timeout: {timeout!r} is not a valid value"):
        Settings().replace(timeout=timeout)


@pytest.mark.parametrize("lines", [-1, 1.5, 10_001, 10**400, float("nan"), "20", None, True])
def test_lines_of_logs(lines: object) -> None:
    """A report has a whole number of lines of a log, and not too many."""
    assert [Settings(log_lines=valid).log_lines for valid in (0, 20.0, 10_000)] == [0, 20, 10_000]
    with pytest.raises(SettingsError, match=r"--dind-log-lines: [^$]*a whole number from"):
        Settings(log_lines=lines)


@pytest.mark.parametrize("spares", [-1, 0.5, 101, float("nan"), "2", None, True])
def test_spares(spares: object) -> None:
    """There is a whole number of spare daemons, and no more than a machine could have."""
    assert [Settings(spares=valid).spares for valid in (0, 2.0, 100)] == [0, 2, 100]
    with pytest.raises(SettingsError, match=r"--dind-spares: [^$]*a whole number from 0 to 100"):
        Settings(spares=spares)


@pytest.mark.parametrize("nodes", [0, -1, 1.5, 101, float("nan"), "2", None, True])
def test_nodes(nodes: object) -> None:
    """There is a whole number of nodes, one at the least."""
    assert [Settings(nodes=valid).nodes for valid in (1, 3.0, 100)] == [1, 3, 100]
    with pytest.raises(SettingsError, match=r"--dind-nodes: [^$]*a whole number from 1 to 100"):
        Settings(nodes=nodes)


def test_replace_of_an_unknown_setting() -> None:
    """A setting that does not exist is refused with the names that do."""
    with pytest.raises(SettingsError) as caught:
        Settings().replace(images="x")

    assert "Settings have no images." in str(caught.value)
    assert "mode, image, host, timeout, arg, publish, mount, forward, memory" in str(caught.value)


def test_frozen() -> None:
    """Settings are frozen, and hashable."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().image = "x"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'image'"):
        del Settings().image
    assert len({Settings(load=["x"]), Settings(load=("x",))}) == 1
    assert hash(Settings(timeout=1)) != hash(Settings(timeout=2))


def test_shape() -> None:
    """The shape of a daemon has what tells it from others, as JSON does, and nothing else."""
    shape = Settings(image="i", load=["a", "b"], timeout=5).shape()
    assert (shape["image"], shape["load"], shape["mode"]) == ("i", ["a", "b"], "auto")
    assert shape == Settings(image="i", load=["a", "b"], timeout=6, keep="always").shape()
    assert not {"timeout", "keep", "leaks", "doctor"} & shape.keys()


def test_settings_of_a_run() -> None:
    """Those that further daemons have none of are told by name."""
    found = Settings().of_run()
    assert {"keep", "reuse", "require", "doctor", "report"} <= {*found}
    assert not {"mode", "image", "load", "timeout"} & {*found}


def test_option() -> None:
    """A field has all traits of its option, the usual ones where it names none."""
    usual = {
        "shapes": True,
        "commas": False,
        "daemon_only": False,
        "run_only": False,
        "bare": None,
        "several": False,
    }
    plain = option("on", "help", metavar="WHAT")
    assert plain.default == "on"
    said = {"text": "help", "metavar": "WHAT", "choices": (), "repeatable": False}
    assert plain.metadata == {**said, **usual}
    other = option((), "more", metavar="M", choices=["a"], shapes=False, bare="b")
    said = {"text": "more", "metavar": "M", "choices": ("a",), "repeatable": True}
    assert other.default == ()
    assert other.metadata == {**said, **usual, "shapes": False, "bare": "b"}


def test_settings_of_a_started_daemon() -> None:
    """Each setting that the outer engine itself has not says so; given ones are told by name."""
    given: dict[str, Any] = {
        "arg": ["--debug"],
        "publish": ["80"],
        "memory": "1g",
        "cpus": "1",
        "registry_mirror": ["http://m"],
        "insecure_registry": ["r:5000"],
        "env": ["A=b"],
        "ca": ["r:5000=ca.pem"],
    }
    others: dict[str, Any] = {"image": "x", "load": ["x"], "timeout": 1, "guard_allow": ["pull"]}

    assert Settings(**given, **others).of_started_daemon() == [*given]
    assert Settings(**others, memory="", arg=[]).of_started_daemon() == []


def test_ports() -> None:
    """Ports, ranges and protocols are spelled out one by one, tcp unless said otherwise."""
    assert Settings(publish=("80", "8000-8002", "53/udp", "60-61/tcp")).ports() == [
        (80, "tcp"),
        (8000, "tcp"),
        (8001, "tcp"),
        (8002, "tcp"),
        (53, "udp"),
        (60, "tcp"),
        (61, "tcp"),
    ]


def test_most_ports() -> None:
    """Two hundred published ports in all are the most, since each costs the engine something."""
    assert len(Settings(publish=["1-100", "201-300/udp"]).ports()) == 200
    for given in (["1-201"], ["1-100", "201-300/udp", "8080"]):
        with pytest.raises(SettingsError, match="these are more than 200 ports") as caught:
            Settings(publish=given)
        assert caught.value.evidence == (
            "Valid: at most 200 in all; asked for are 201 so far. Each costs the outer engine a "
            "process and a tenth of a second or more, for which all that use the engine wait."
        )
        assert caught.value.remedy == ("Publish only the ports that are used, such as 8000-8010.",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", "lots"),
        ("memory", "2"),
        ("cpus", "0"),
        ("cpus", "many"),
        ("registry_mirror", ["mirror:5000"]),
        ("insecure_registry", ["http://registry:5000"]),
        ("leaks", "maybe"),
    ],
)
def test_bad_limits_and_registries(name: str, value: Any) -> None:
    """A limit that is none, a mirror without a scheme, a registry with one: each is refused."""
    with pytest.raises(SettingsError, match=f"--dind-{name.replace('_', '-')}: "):
        Settings().replace(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("cpus", 2, "2"), ("cpus", 1.5, "1.5"), ("publish", [8080], ("8080",)), ("reuse", 3, "3")],
)
def test_numbers(name: str, value: object, text: object) -> None:
    """A number means what the same digits mean on the command line."""
    assert getattr(Settings().replace(**{name: value}), name) == text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("host", None),
        ("image", b"x"),
        ("memory", True),
        ("memory", 512),
        ("mode", ["dind"]),
        ("arg", None),
        ("arg", 1),
        ("load", [None]),
        ("require", [1]),
        ("registry_mirror", [1]),
        ("guard_allow", [None]),
    ],
)
def test_values_of_other_types(name: str, value: object) -> None:
    """What is no text, or no list of texts, is an error that names the setting."""
    with pytest.raises(SettingsError, match=f"--dind-{name.replace('_', '-')}: "):
        Settings().replace(**{name: value})


def test_values_that_errors_show() -> None:
    """A value is shown whole while it is short, cut where it is long, else by its type."""

    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert shown("\udcff") == r"'\udcff'"
    assert shown("x" * 198) == repr("x" * 198)
    assert shown("x" * 199) == f"'{'x' * 199}..."
    assert shown(Broken()) == "<Broken>"


@pytest.mark.parametrize(
    ("value", "valid"),
    [(0, True), (0.5, True), (MOST_SECONDS, True), (MOST_SECONDS + 1, False), (-0.1, False)],
)
def test_seconds(value: float, valid: bool) -> None:
    """A wait may take no time at all, or fractions of a second, and not for ever."""
    assert is_seconds(value) is valid


def test_variables() -> None:
    """A variable has a value, which may be empty or have an equals sign, or that of the process."""
    assert variables(["A=b=c", "B=", "C"]) == {"A": "b=c", "B": "", "C": None}


_HOSTS = "Valid: unix://PATH, tcp://HOST:PORT, ssh://[USER@]HOST, a context's name."


@pytest.mark.parametrize(
    ("name", "value", "evidence"),
    [
        ("publish", ["80-x"], "Valid: a port (8080), a range (8000-8010), udp (53/udp)."),
        ("env", ["=x"], "Valid: NAME=VALUE, NAME, for the value that this process has."),
        ("env", ["A=\0"], "Valid: a text that UTF-8 has, without NUL."),
        ("ca", ["registry:5000="], "Valid: FILE, HOST=FILE, such as registry:5000=ca.pem."),
        ("memory", "much", "Valid: a size such as 512m or 2g."),
        ("cache_size", "much", "Valid: a size such as 500m or 10g."),
        ("cpus", "0", "Valid: a number above 0, such as 1.5."),
        ("reuse", "a b", "Valid: 1 to 22 letters, digits, _ and -."),
        ("registry_mirror", ["m"], "Valid: a URL with http:// or https://."),
        ("insecure_registry", ["http://r"], "Valid: host:port or a CIDR, without http://."),
        ("image", "a b", "Valid: an image's name, such as docker:dind."),
        (
            "load",
            ["Upper"],
            "An image's name is in lower case, but for its registry and its tag. Valid: an image's "
            "name, such as docker:dind.",
        ),
        ("host", "ftp://h", f"There is no way to an engine by ftp://. {_HOSTS}"),
        ("host", "tcp://h:0", f"It names no host. {_HOSTS}"),
        ("host", "unix://", f"It names no socket. {_HOSTS}"),
    ],
)
def test_what_is_said_of_a_bad_value(name: str, value: Any, evidence: str) -> None:
    """A bad value is shown, with what is wrong with it, what is valid, and where it is given."""
    with pytest.raises(SettingsError) as caught:
        Settings(**{name: value})
    bad = value[0] if isinstance(value, list) else value
    flag = f"--dind-{name.replace('_', '-')}"
    assert caught.value.what == f"{flag}: {bad!r} is not a valid value."
    assert caught.value.evidence == evidence
    how = f"Give {flag} (or the ini key dind_{name}) one of the valid values."
    assert caught.value.remedy == (how,)


@pytest.mark.parametrize("name", ["image", "kubernetes_image"])
def test_bad_name_of_an_image(name: str) -> None:
    """The error names the option that has it."""
    with pytest.raises(SettingsError, match=f"^--dind-{name.replace('_', '-')}: 'a b' is not"):
        Settings(**{name: "a b"})


@pytest.mark.parametrize("url", ["http://m.example", "https://m.example"])
def test_mirrors(url: str) -> None:
    """A mirror is a URL of either kind."""
    assert Settings(registry_mirror=[url]).registry_mirror == (url,)


def test_bad_mount() -> None:
    """What can't be mounted is shown, with the reason and what can be."""
    with pytest.raises(SettingsError) as caught:
        Settings(mount=["copy:"])
    assert caught.value.what == "--dind-mount: 'copy:' is not a valid value."
    assert re.fullmatch(r"[A-Z].+\. Valid: PATH\[:TARGET.*", caught.value.evidence)


def test_settings_are_values() -> None:
    """Equal settings are one key; their text names each; an unknown one is told, with the valid."""
    one, same, other = Settings(arg=["--debug"]), Settings(arg=("--debug",)), Settings(timeout=1)
    assert one == same
    assert {one: 1}[same] == 1
    assert one != other
    assert one != vars(one)
    assert repr(other).startswith("Settings(mode='auto', image='docker:dind', host='', timeout=1,")
    with pytest.raises(SettingsError, match=r"no imgae\.[^$]*Valid: mode, image"):
        Settings(imgae="x")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "busybox",
            "docker:28-dind",
            "a/b_c/d__e/f-g.h:T_1.x-y",
            "localhost:5000/a",
            "R.example/a",
        ),
        *("[fd00::1]:5000/a", "UPPER/a", "a@sha256:" + "0f" * 32, "a:1@sha256:" + "0f" * 32),
        *("sha256:" + "0f" * 32, "0f" * 32, "0f0f0f0f0f0f"),
    ],
)
def test_names_of_images(name: str) -> None:
    """What the engine takes as an image's name, digest or id is taken."""
    assert Settings(image=name, load=[name]).image == name


@pytest.mark.parametrize(
    "host",
    [
        *("", "default", "my-context_1.x", "unix:///var/run/docker.sock", "unix://x"),
        *(
            "tcp://h:1",
            "tcp://h",
            "tcp://h:2376",
            "tcp://[fd00::1]:2375",
            "ssh://h",
            "ssh://me@h:22/run/d.sock",
        ),
        "http://h:2375",
    ],
)
def test_hosts(host: str) -> None:
    """A URL that leads somewhere is taken, and what may be a context's name."""
    assert Settings(host=host).host == host
