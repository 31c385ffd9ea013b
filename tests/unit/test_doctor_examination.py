"""The doctor's examination, on engines that are none, with what containers would have shown."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_dind import EngineUnavailable, ModeUnavailable, Settings, SettingsError, doctor
from pytest_dind.__main__ import main
from pytest_dind.backends.probe import LEASE_SEEN, LOOK, MOUNTED, ProbeResult
from pytest_dind.backends.registry import Probe, isolates
from pytest_dind.doctor import Report, examination, examine, ports, render, trial
from pytest_dind.doctor.trial import Started, Verdict
from pytest_dind.engine import sockets
from pytest_dind.engine import tls as certificates
from pytest_dind.runs.run import Run
from pytest_dind.settings import MODES

from ..support import Answer, FakeEngine

_VERSION = {"ApiVersion": "1.51", "MinAPIVersion": "1.24", "Components": [{"Name": "Engine"}]}
_INFO = {
    "ServerVersion": "28.5.2",
    "Driver": "overlay2",
    "CgroupVersion": "2",
    "CgroupDriver": "systemd",
    "KernelVersion": "6.8.0",
    "Name": "elsewhere",
    "OperatingSystem": "Ubuntu 24.04.3 LTS",
    "DockerRootDir": "/var/lib/docker",
    "Runtimes": {"runc": {"path": "runc"}, "sysbox-runc": {"path": "/usr/bin/sysbox-runc"}},
    "DefaultRuntime": "runc",
    "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin"],
}
_SEEN = ProbeResult(
    f"=== mount\n{MOUNTED}\n=== lease\n{LEASE_SEEN}\n"
    "=== df\nFilesystem 1024-blocks Used Available Capacity Mounted on\n"
    "overlay 10485760 1048576 8388608 11% /\n"
    "=== iptables\niptables v1.8.11 (nf_tables)\n"
    "=== resolvers\n192.0.2.53\n2001:db8::53\n=== tools\n/bin/busybox\n/usr/bin/nc\n"
    "=== /proc/filesystems\nnodev\toverlay\n",
    ran=True,
)
_SYSBOX = ProbeResult(f"0 100000 65536\nsysboxfs /proc/sys\n{LEASE_SEEN}\n", ran=True)
_NO_SYSBOX = ProbeResult("0 0 4294967295\n", ran=True)
_DENIED = ProbeResult(
    "privileged mode is incompatible with user namespaces.  You must run the container in the host "
    "namespace when running privileged mode",
    ran=False,
)

_Examine = Callable[..., Report]


class _Shown:
    """What containers show, by what they are; and what was asked."""

    privileged = _SEEN
    plain = _SEEN
    sysbox = _NO_SYSBOX

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, probe: Probe, command: Sequence[str], **how: Any) -> ProbeResult:
        self.asked.append({"command": tuple(command), **how})
        if "runtime" in how:
            return self.sysbox
        return self.privileged if how.get("privileged") else self.plain


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> _Shown:
    """What containers show."""
    shown = _Shown()
    monkeypatch.setattr(Probe, "__call__", lambda *given, **how: shown(*given, **how))
    return shown


@pytest.fixture
def answers() -> dict[str, Any]:
    """What the engine answers."""
    return {
        "GET /version": Answer(body=_VERSION),
        "GET /info": Answer(body=dict(_INFO)),
        "GET /images/i:t/json": Answer(body={"Id": "sha256:1"}),
    }


@pytest.fixture
def on_engine(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any], shown: _Shown
) -> _Examine:
    """Examine such an engine; in the end no directory of the run is left."""
    monkeypatch.setattr("tempfile.tempdir", str(short_path))

    def on_engine(**settings: Any) -> Report:
        with FakeEngine(short_path / "s", answers) as engine:
            chosen = Settings(image="i:t", host=engine.host, doctor="quick").replace(**settings)
            report = examine(chosen, print)
        assert not [path for path in short_path.glob("pytest-dind-*/*") if path.is_dir()]
        return report

    return on_engine


def _after(first: Callable[[], None], then: Callable[..., None]) -> Callable[..., None]:
    def both(*given: object) -> None:
        first()
        then(*given)

    return both


def _verdict(report: Report, mode: str) -> Verdict:
    (found,) = (verdict for verdict in report.modes if verdict.mode == mode)
    return found


@pytest.mark.parametrize("known", [True, False])
def test_way_back(on_engine: _Examine, answers: dict[str, Any], known: bool) -> None:
    """The report says where nested containers reach the tests, if they do."""
    bridge = {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}}
    answers["GET /networks"] = Answer(body=[bridge] if known else [])
    report = on_engine()

    assert report.data()["engine"]["gateway"] == ("172.17.0.1" if known else None)
    said = "reach the tests at 172.17.0.1, as host.docker.internal" if known else "none is known"
    assert said in " ".join(render(report).split())


def test_each_mode_has_a_verdict(on_engine: _Examine) -> None:
    """Each mode of this version is judged, in the order in which auto tries them."""
    assert tuple(verdict.mode for verdict in on_engine().modes) == MODES


@pytest.mark.parametrize(
    ("asked", "privileged", "sysbox", "mode"),
    [
        ("auto", _SEEN, _SYSBOX, "sysbox"),
        ("auto", _SEEN, _NO_SYSBOX, "dind"),
        ("auto", _DENIED, _SYSBOX, "sysbox"),
        ("auto", _DENIED, _NO_SYSBOX, ""),
        ("dind", _SEEN, _SYSBOX, "dind"),
        ("dind", _DENIED, _SYSBOX, ""),
        ("sysbox", _SEEN, _NO_SYSBOX, ""),
        ("sysbox", _DENIED, _SYSBOX, "sysbox"),
    ],
)
def test_mode_and_exit_code(
    on_engine: _Examine,
    shown: _Shown,
    asked: str,
    privileged: ProbeResult,
    sysbox: ProbeResult,
    mode: str,
) -> None:
    """The exit code is 0 where the mode asked for works; auto: where any does."""
    shown.privileged, shown.sysbox = privileged, sysbox
    report = on_engine(mode=asked)

    assert report.mode == mode
    assert report.exit_code == (0 if mode else 1)
    text = render(report)
    assert f"--dind-mode={asked}" in text or "No isolated mode works here" in text


def test_proof_is_a_container(on_engine: _Examine, shown: _Shown) -> None:
    """One container proves a mode, made as its daemons are, with a directory of this process."""
    report = on_engine()

    assert (report.privileged, report.unprivileged) == (True, True)
    dind = {"command": LOOK, "shares": True, "privileged": True}
    assert shown.asked.count(dind) == 1
    assert shown.asked.count({"command": LOOK, "shares": True}) == 1
    runtimes = sorted(str(asked.get("runtime")) for asked in shown.asked)
    assert runtimes == ["None", "None", "sysbox-runc"]


def test_privilege_refused(on_engine: _Examine, shown: _Shown) -> None:
    """An engine that refuses privilege is told from one that runs no containers at all."""
    shown.privileged = _DENIED
    report = on_engine(mode="dind")
    dind = _verdict(report, "dind")

    assert (report.privileged, report.unprivileged) == (False, True)
    assert dind.cause == "the engine refuses a --privileged container"
    assert "incompatible with user namespaces" in dind.evidence
    assert any("userns-remap" in remedy for remedy in dind.remedy)
    shown.plain = ProbeResult("no space left on device", ran=False)
    assert "neither does it run other containers" in render(on_engine(mode="dind"))


def test_mount_denied(on_engine: _Examine, shown: _Shown) -> None:
    """Privilege that may not mount is none; a security module's denial is told as one."""
    shown.privileged = ProbeResult(
        "=== mount\nmount: permission denied (are you root?)\n=== lease\n", ran=True
    )
    dind = _verdict(on_engine(), "dind")

    assert not dind.works
    assert dind.cause.startswith("a --privileged container may not mount: A mount was denied")
    assert any("label=disable" in remedy for remedy in dind.remedy)


def test_files(on_engine: _Examine, shown: _Shown) -> None:
    """The report says whether daemons have this machine's files, as far as a container shows."""
    nothing = ProbeResult("no", ran=False)
    shared = shown.privileged
    for shown.privileged, shares, said in (
        (shared, True, "daemons have the project and tmp_path under the same path"),
        (ProbeResult(_SEEN.output.replace(LEASE_SEEN, ""), ran=True), False, "but for copies"),
        (nothing, None, "files not tried"),
    ):
        shown.plain = shown.privileged
        report = on_engine()
        assert report.data()["engine"]["shares"] is shares
        assert said in " ".join(render(report).split())


def _said(report: Report) -> str:
    return " ".join(render(report).split())


def test_names(on_engine: _Examine) -> None:
    """The report says which resolvers nested containers ask, as a container shows them."""
    report = on_engine()

    assert report.data()["engine"]["resolvers"] == ["192.0.2.53", "2001:db8::53"]
    assert "the resolvers that the engine's own ask (192.0.2.53, 2001:db8::53)" in _said(report)


def test_no_proxies(on_engine: _Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report says so where daemons have no proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert "proxies none: neither the engine nor this process" in _said(on_engine())


def test_ports(on_engine: _Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an engine of this network ports are opened on loopback, and addresses reached."""
    monkeypatch.setattr(ports, "_refused", lambda host, port: 0)
    report = on_engine()

    assert report.data()["engine"]["ports"] == {
        "forward": True,
        "loopback": ("127.0.0.1", "::1"),
        "refused": "",
        "low_refused": "",
        "detour": "",
        "tools": ("busybox", "nc"),
        "here": True,
    }
    said = _said(report)
    assert "opened on 127.0.0.1 and ::1, under the same numbers while these are free" in said
    assert "address() leads to the daemon's own address" in said


def test_low_ports(on_engine: _Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may not open low ports is told so, and what to do; nor is there always IPv6."""

    def refused(host: str, port: int) -> int:
        return errno.EADDRNOTAVAIL if ":" in host else errno.EACCES if port == 1 else 0

    monkeypatch.setattr(ports, "_refused", refused)
    said = _said(on_engine())
    assert "opened on 127.0.0.1, under the same numbers" in said
    assert "none below 1024, which this user may not open: Permission denied" in said
    assert "net.ipv4.ip_unprivileged_port_start=0" in said


def test_loopback_that_is_down(on_engine: _Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the loopback interface is down, nothing is claimed to be open on it."""
    monkeypatch.setattr(ports, "is_reached", lambda host: False)
    said = _said(on_engine())
    assert "can't be opened on this machine's loopback: 127.0.0.1: nothing gets through" in said
    assert "ip link set lo up" in said


def test_ports_through_the_engine(on_engine: _Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an engine's network is another, ports are reached through it, and why is said."""
    monkeypatch.setattr(sockets, "listens_here", lambda path: False)
    said = _said(on_engine())
    assert (
        "leads to a port of this machine's loopback, and on through the engine, by a command in "
        "the daemon's container, because of the engine: its network is not this process's; each "
        "connection takes" in said
    )
    assert "Run the tests where the engine's network is" in said
    # What it publishes is in that network, too.
    assert "--dind-publish" not in said
    said = _said(on_engine(mode="socket"))
    assert "the engine publishes them itself, in a network that is not reached from here" in said


@pytest.mark.parametrize(
    ("forward", "tools", "lacks", "remedy"),
    [
        ("off", "/bin/busybox", "--dind-forward=off", "Leave --dind-forward=off out."),
        ("auto", "", "the daemon's image has none of busybox, socat", "--dind-image"),
    ],
)
def test_no_way_through_the_engine(
    on_engine: _Examine,
    shown: _Shown,
    monkeypatch: pytest.MonkeyPatch,
    forward: str,
    tools: str,
    lacks: str,
    remedy: str,
) -> None:
    """Where the way through the engine is needed and not there, what it lacks is said."""
    unshared = _SEEN.output.replace(LEASE_SEEN, "").partition("=== tools")[0]
    shown.privileged = shown.plain = ProbeResult(f"{unshared}=== tools\n{tools}\n", ran=True)
    monkeypatch.setattr(certificates, "available", lambda: True)
    said = _said(on_engine(forward=forward))
    assert (
        "leads nowhere, because of the engine (its containers don't see this process's "
        f"directories), and because there is no way through it: {lacks}" in said
    )
    assert remedy in said
    assert "Have the engine publish a port: --dind-publish PORT." in said


def test_container_that_hangs(on_engine: _Examine, shown: _Shown) -> None:
    """A container that doesn't end is no proof."""
    shown.privileged = ProbeResult("Read timed out.", ran=False, hangs=True)

    assert _verdict(on_engine(), "dind").cause == "a --privileged container hangs"


@pytest.mark.parametrize("certified", [False, True])
def test_directories_are_elsewhere(
    on_engine: _Examine, shown: _Shown, monkeypatch: pytest.MonkeyPatch, certified: bool
) -> None:
    """Where containers don't see this process's directories, it takes certificates (Desktop)."""
    monkeypatch.setattr(certificates, "available", lambda: certified)
    shown.privileged = shown.plain = ProbeResult(_SEEN.output.replace(LEASE_SEEN, ""), ran=True)
    shown.sysbox = ProbeResult(_SYSBOX.output.replace(LEASE_SEEN, ""), ran=True)
    report = on_engine()

    assert report.exit_code == (0 if certified else 1)
    cause = "containers have no part in this process's directories"
    for verdict in report.modes:
        # The guarded socket is in a directory, whatever there is of certificates.
        isolated = isolates(verdict.mode)
        assert verdict.works == (certified and isolated)
        assert verdict.works or verdict.cause == cause
        remedies = " ".join(verdict.remedy)
        assert ("pytest-dind[remote]" in remedies) == (isolated and not verdict.works)
        assert verdict.works or "engine's own machine" in remedies
    assert report.privileged


def test_facts_from_a_container(on_engine: _Examine) -> None:
    """Of an engine elsewhere, room and kernel are those that a container shows."""
    report = on_engine()

    assert report.space is not None
    assert report.space.free == 8 * 2**30
    assert report.kernel.where == "the engine's machine"
    assert (report.kernel.release, report.kernel.overlay) == ("6.8.0", "present")
    assert report.image_iptables == "nft"


def test_image_that_is_missing(on_engine: _Examine, answers: dict[str, Any]) -> None:
    """Without the daemon's image nothing can be tried: why, and no container is asked for."""
    answers["GET /images/i:t/json"] = Answer(404, {"message": "No such image: i:t"})
    answers["POST /images/create"] = Answer(500, {"message": "no such host"})
    report = on_engine()
    dind = _verdict(report, "dind")

    assert dind.cause == "The image 'i:t' is not on the outer engine and cannot be pulled"
    assert "no such host" in dind.evidence
    assert (report.privileged, report.unprivileged) == (None, None)
    assert report.engine is not None


def test_engine_that_fails(on_engine: _Examine, answers: dict[str, Any]) -> None:
    """An engine that is there and gives no good answer is told with its own words."""
    answers["GET /info"] = Answer(500, {"message": "authorization denied by plugin"})
    report = on_engine()

    assert report.exit_code == 1
    assert report.engine is None
    assert "does not answer as it should" in render(report)
    assert "authorization denied by plugin" in render(report)
    assert "Kernel of this machine" in render(report)


@pytest.mark.parametrize("call", ["GET /version", "GET /info"])
def test_engine_that_hangs(
    on_engine: _Examine, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """An engine that does not answer is given up, and said to be one."""
    given_up = threading.Event()

    def hang() -> Answer:
        given_up.wait(20)
        return Answer(503)

    answers[call] = hang
    monkeypatch.setattr(examination, "_ENGINE_SECONDS", 0.2)
    monkeypatch.setattr(FakeEngine, "__exit__", _after(given_up.set, FakeEngine.__exit__))
    report = on_engine()

    assert report.exit_code == 1
    assert isinstance(report.error, EngineUnavailable)
    assert "timed out" in render(report)


def test_runs_directory_that_is_somebody_elses(
    on_engine: _Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the way besides the engine is told as a problem of its own."""

    def begin(progress: object) -> None:
        raise SettingsError("/tmp/x cannot be written.", evidence="full", remedy=["Make room."])

    monkeypatch.setattr(Run, "begin", begin)
    text = render(on_engine())

    assert text.startswith("Problem\n  /tmp/x cannot be written.\n")
    assert "Make room." in text


def test_no_engine() -> None:
    """Without an engine it is said why; the kernel is shown all the same."""
    report = examine(Settings(host="unix:///none/s", doctor="quick"), print)

    assert report.exit_code == 1
    assert "There is no socket /none/s." in render(report)
    assert "Kernel of this machine" in render(report)
    assert not any(verdict.works for verdict in report.modes)


def test_full(on_engine: _Examine, shown: _Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """In full, what passed is started; what did not is left alone."""
    started = Started("28.5.2", "overlay2", 0.7, 0.5)

    def start(verdict: Verdict, *given: object) -> Verdict:
        return Verdict(verdict.mode, True, daemon=started)

    monkeypatch.setattr(trial, "start", start)
    report = on_engine(doctor="full")

    assert _verdict(report, "dind").daemon == started
    assert _verdict(report, "sysbox").daemon is None
    assert report.nested
    assert "a daemon was ready in 0.70 s (Docker 28.5.2, overlay2)" in render(report)
    assert "a nested container ran in 0.50 s" in render(report)


@pytest.mark.parametrize(
    ("address", "reached", "said"),
    [
        ("172.17.0.2", True, "its address, 172.17.0.2, is reached from here"),
        ("172.17.0.2", False, "nothing came back from its address, 172.17.0.2 - Let this machine"),
        ("", False, "its ports are reached through the engine"),
    ],
)
def test_address_of_a_started_daemon(
    on_engine: _Examine, monkeypatch: pytest.MonkeyPatch, address: str, reached: bool, said: str
) -> None:
    """In full, a daemon shows what no look before can: whether its address is reached."""
    daemon = Started("28.5.2", "overlay2", 0.7, 0.5, address, reached)
    monkeypatch.setattr(
        trial, "start", lambda verdict, *given: Verdict(verdict.mode, True, daemon=daemon)
    )
    assert said in _said(on_engine(doctor="full"))


@pytest.mark.parametrize(
    ("nested_seconds", "works", "expected"),
    [(0.5, True, True), (None, True, None), (None, False, False)],
)
def test_nested(
    on_engine: _Examine,
    monkeypatch: pytest.MonkeyPatch,
    nested_seconds: float | None,
    works: bool,
    expected: bool | None,
) -> None:
    """Whether nested containers run is not claimed where none was tried."""
    daemon = Started("28.5.2", "overlay2", 0.7, nested_seconds)
    monkeypatch.setattr(
        trial, "start", lambda verdict, *given: Verdict(verdict.mode, works, daemon=daemon)
    )

    assert on_engine(doctor="full").nested == expected


def test_full_that_fails(on_engine: _Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mode whose daemon does not start does not work, whatever a container showed."""

    def begin(progress: object) -> None:
        raise ModeUnavailable("It cannot.", evidence="seen", remedy=["Do it."])

    verdict = Verdict("dind", True)
    monkeypatch.setattr(Run, "begin", begin)

    assert trial.start(verdict, Settings(), print) == Verdict(
        "dind", False, "It cannot", "seen", ("Do it.",)
    )


def test_json(on_engine: _Examine) -> None:
    """The report as JSON has the keys that its page lists, and they hold what was found."""
    data = json.loads(json.dumps(on_engine().data()))
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text(encoding="utf-8")
    table = page.partition("\n## JSON\n")[2].partition("\n## ")[0]

    keys = [*data, *data["modes"][0], *data["engine"], *data["kernel"], *data["advice"][0]]
    assert not [key for key in keys if f"`{key}`" not in table]
    assert (data["asked"], data["mode"], data["works"]) == ("auto", "dind", True)
    assert data["engine"]["space"] == {"free": 8 * 2**30, "total": 10 * 2**30}
    assert data["error"] is None
    assert [row["mode"] for row in data["advice"]] == ["dind", "sysbox", "socket"]


def test_json_without_engine(capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints JSON, and nothing else, also without an engine."""
    assert main(["doctor", "--json", "--host", "unix:///none/s"]) == 1
    data = json.loads(capsys.readouterr().out)

    assert (data["engine"], data["mode"], data["works"]) == (None, None, False)
    assert data["error"]["evidence"] == "There is no socket /none/s."


def test_bad_mode(capsys: pytest.CaptureFixture[str]) -> None:
    """A bad value is an error that names the valid ones."""
    assert main(["doctor", "--mode", "dnid"]) == 1
    assert "Valid: auto, sysbox, dind" in capsys.readouterr().err


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the command with the code that a shell gives it."""

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", interrupted)

    assert main(["doctor"]) == 130


def test_text(on_engine: _Examine) -> None:
    """The text has its sections in order, is no wider than a terminal, and ends no line blank."""
    text = render(on_engine())
    heads = [line for line in text.splitlines() if line and not line.startswith(" ")]

    assert heads == ["Modes", "Engine", "Kernel of the engine's machine", "Recommendation"]
    assert max(map(len, text.splitlines())) <= 102
    assert not [line for line in text.splitlines() if line != line.rstrip()]


def test_newer_api(on_engine: _Examine, answers: dict[str, Any]) -> None:
    """An API newer than the plugin knows is one more line of the engine, and no problem."""
    version = answers["GET /version"]
    assert "is newer" not in render(on_engine())
    answers["GET /version"] = Answer(body={**version.body, "ApiVersion": "1.99"})
    report = on_engine()

    assert "API 1.99 is newer than the newest that is known, 1.57" in render(report)
    assert report.exit_code == 0


def test_options_of_a_security_module(on_engine: _Examine) -> None:
    """Of an engine under AppArmor the text says what that means, and the options."""
    text = " ".join(render(on_engine()).split())

    assert "AppArmor confines containers" in text
    assert "--security-opt apparmor=unconfined" in text
    assert "label=disable" not in text


def test_recommendation(on_engine: _Examine) -> None:
    """The decision table says what works here, and what is nearest to what doesn't."""
    text = render(on_engine())

    assert "--dind-mode=auto takes dind." in text
    rows = {row.mode: row for row in on_engine().advice()}
    assert (rows["dind"].works, rows["dind"].instead) == (True, "")
    assert (rows["sysbox"].works, rows["sysbox"].instead) == (False, "dind")
    assert (rows["socket"].works, rows["socket"].instead) == (True, "")


def test_no_isolation_is_near_to_nothing(on_engine: _Examine, shown: _Shown) -> None:
    """Where no isolated mode works, none that isn't is recommended in its place."""
    shown.privileged = _DENIED
    rows = {row.mode: row for row in on_engine().advice()}

    assert not rows["dind"].works
    assert rows["socket"].works
    assert (rows["dind"].instead, rows["sysbox"].instead) == ("", "")
