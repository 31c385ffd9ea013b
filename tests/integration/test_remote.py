"""An engine on another host: reached over TLS, with a file system of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from conftest import DAEMON_IMAGE, NESTED_IMAGE
from pytest_dind import AddressUnreachable, Daemon, EngineUnavailable, Settings
from pytest_dind.engine import http
from pytest_dind.engine import tls as certificates
from pytest_dind.engine.engine import Engine
from pytest_dind.runs.run import Run

from ..support import remove_tree, until
from .other import OtherHost
from .projects import Project
from .traces import Traces

# The other host takes seconds to make: one worker has all that use it.
pytestmark = pytest.mark.xdist_group("other")


@pytest.fixture
def traces(other: OtherHost, room: Path) -> Iterator[Traces]:
    """What a test leaves on the other host, and here; in the end that is nothing."""
    traces = Traces(other.client, room)
    yield traces
    traces.assert_nothing_left()


@pytest.fixture
def project(room: Path, other: OtherHost, traces: Traces) -> Iterator[Project]:
    """A project whose runs use the other host's engine, as the environment says."""
    with Project(room, "--dind-image", DAEMON_IMAGE, "--dind-mode", "dind") as project:
        project.env = other.env
        yield project


@pytest.fixture(scope="module")
def far(other: OtherHost) -> Iterator[Daemon]:
    """A daemon on the other host, with one port published there."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in other.env.items():
            patched.setenv(name, value)
        settings = Settings(
            mode="dind",
            image=DAEMON_IMAGE,
            host=other.url,
            load=(NESTED_IMAGE,),
            publish=("8080",),
            forward="off",
        )
        with contextlib.closing(Run.begin(print)) as run:
            yield run.daemon(settings)


def test_session(project: Project, other: OtherHost) -> None:
    """Client, commands, nested containers and the environment work; the report says by what way."""
    project.write(
        f"""
        import os, subprocess, sys

        def test_it(dind_daemon, dind_client, dind_env):
            run = dind_client.containers.run
            assert run("{NESTED_IMAGE}", ["echo", "hi"], remove=True) == b"hi\\n"
            assert dind_daemon.exec(["docker", "ps", "-q"]).stdout == ""
            assert len(dind_daemon.exec(["cat"], stdin="x" * 300000).stdout) == 300000
            assert "API listen on" in dind_daemon.logs()
            assert dind_daemon.exit_code() is None
            ask = "import docker; print(docker.from_env().info()['ID'])"
            told = subprocess.run(
                [sys.executable, "-c", ask], env=dind_env, check=True, capture_output=True
            )
            assert told.stdout.decode().strip() == dind_client.info()["ID"]
            assert dind_env["DOCKER_TLS_VERIFY"] == "1"
            path = dind_env["DOCKER_CERT_PATH"]
            assert os.stat(path).st_mode & 0o777 == 0o700
            for name in os.listdir(path):
                assert os.stat(f"{{path}}/{{name}}").st_mode & 0o777 == 0o600
            details = str(dind_daemon.container.attrs)
            assert "PRIVATE KEY" not in details and "CERTIFICATE" not in details
        """
    )
    output = project.run("--dind-load", NESTED_IMAGE, "-W", "default::ResourceWarning")

    said = f"dind: engine {other.url}: over TLS, because its file system is not shared"
    assert output.count(said) == 1
    assert output.index(said) < output.index("test_it.py")


@pytest.mark.parametrize("workers", [0, 2])
def test_sigkill(project: Project, traces: Traces, workers: int) -> None:
    """When all users are killed, the daemon is gone within three seconds, by its own lease."""
    project.write(
        """
        import signal

        def test_it(dind_daemon, worker_id):
            open(f"in-{worker_id}", "w").close()
            signal.pause()
        """
    )
    process = project.start(f"-n{workers}", "--dist=each")
    project.reached("in-gw1" if workers else "in-master", process)
    if workers:
        project.reached("in-gw0", process)
    assert len(traces.containers()) == 1
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    began = time.monotonic()
    traces.assert_nothing_left(seconds=3)
    print(f"gone {time.monotonic() - began:.2f} s after SIGKILL")


def test_worker_that_asks_late(project: Project) -> None:
    """Two workers share one daemon, also when one has ended its tests before the other asks."""
    project.write(
        """
        import os, pathlib, time

        def test_it(request, worker_id):
            if worker_id == "gw1":
                while not os.path.exists("done"):
                    time.sleep(0.01)
            daemon = request.getfixturevalue("dind_daemon")
            assert daemon.client().ping()
            with open("ids", "a") as file:
                print(daemon.id, file=file)
        """
    )
    project.write(
        """
        def pytest_sessionfinish(session):
            session.config.add_cleanup(lambda: open("done", "w").close())
        """,
        "conftest.py",
    )
    project.run("-n2", "--dist=each", "-W", "default::ResourceWarning")
    ids = (project.path / "ids").read_text().split()

    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_copies_and_builds(far: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files pass both ways over TLS, and directories are built, with a docker CLI and without."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "file").write_text("text" * 100_000)
    far.copy_to(tmp_path / "one", "/opt/new")
    back = far.copy_from("/opt/new/file", tmp_path / "back")
    assert back.read_text() == "text" * 100_000
    far.copy_from("/opt/new", tmp_path / "all")
    assert (tmp_path / "all" / "file").read_text() == "text" * 100_000
    far.exec(["rm", "-r", "/opt/new"])
    (tmp_path / "one" / "Dockerfile").write_text(
        f"FROM {NESTED_IMAGE}\nRUN <<EOF\nexit 0\nEOF\nCOPY file /\n"
    )
    far.build(tmp_path / "one", "one:1")
    monkeypatch.setenv("PATH", str(tmp_path))
    far.build(tmp_path / "one", "one:2")
    wait = far.exec(["docker", "run", "-d", NESTED_IMAGE, "httpd", "-f", "-p", "80"]).stdout.strip()
    far.wait_for(wait, port=80, timeout=20)


def test_forked_child(project: Project, traces: Traces) -> None:
    """A forked child that outlives its run neither keeps the daemon nor, ending, ends it."""
    project.write(
        """
        import os, signal

        def test_child(dind_client):
            first = os.fork()
            if not first:
                os._exit(0)
            os.waitpid(first, 0)
            assert dind_client.ping()
            second = os.fork()
            if not second:
                signal.pause()
            with open("child", "w") as file:
                print(second, file=file)

        def test_it_is_still_there(dind_client):
            assert dind_client.ping()
            os._exit(3)
        """
    )
    project.run(
        *("-W", "ignore::DeprecationWarning"),
        before=["sh", "-c", 'exec "$@" >output 2>&1', "sh"],
        code=3,
    )
    child = int((project.path / "child").read_text())
    try:
        traces.assert_nothing_left(seconds=3)
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_rest_of_the_handle(project: Project) -> None:
    """Images, restarts, clean-up after a test, and further daemons work there as they do here."""
    project.write(
        f"""
        def test_clean(dind_clean):
            with_client = dind_clean.client()
            assert dind_clean.load("{NESTED_IMAGE}")
            with_client.containers.run("{NESTED_IMAGE}", ["sleep", "600"], detach=True, name="left")
            with_client.volumes.create("left")
            with_client.close()

        def test_restart(dind_daemon, dind_client):
            assert dind_client.containers.list(all=True) == []
            assert dind_client.volumes.list() == []
            always = {{"Name": "always"}}
            dind_client.containers.run(
                "{NESTED_IMAGE}", ["sleep", "600"], detach=True, restart_policy=always, name="again"
            )
            dind_daemon.restart()
            assert dind_client.images.get("{NESTED_IMAGE}")
            assert dind_client.containers.get("again").status == "running"

        def test_factory(dind_factory, dind_daemon):
            second = dind_factory("second")
            assert second.client().ping()
            assert second.id != dind_daemon.id
        """
    )
    output = project.run("-W", "default::ResourceWarning")

    assert "3 passed" in output


def test_clean_in_a_shared_daemon(project: Project) -> None:
    """Whose a thing is can't be told there: an error, with the way out, and that way works."""
    project.write("def test_it(dind_clean): dind_clean.client().volumes.create('left')")
    output = project.run("-n1", code=1)

    assert (
        "SettingsError: Tests can't be cleaned up after in a daemon that is shared over" in output
    )
    assert "--dind-scope worker" in output
    assert "1 passed" in project.run("-n1", "--dind-scope=worker", "-W", "ignore::ResourceWarning")


def test_daemon_that_dies(project: Project) -> None:
    """A daemon that dies is lost with its exit code and its log, as it is on this machine."""
    project.write(
        """
        def test_kill(dind_daemon):
            dind_daemon.exec(["sh", "-c", "kill -9 $(pidof dockerd)"])
            while dind_daemon._backend.files(dind_daemon.record).read("exit") is None:
                pass

        def test_after(dind_client):
            pass
        """
    )
    output = project.run(code=1)

    assert "DaemonLost: The daemon 'main' (mode dind) is gone" in output
    assert "Exit code 137" in output
    assert "API listen on" in output


def test_argument_that_dockerd_refuses(project: Project) -> None:
    """A daemon that ends at once is told so, with its last words."""
    project.write("def test_it(dind_client): pass")
    output = project.run("--dind-arg=--nonsense", code=1)

    assert "DaemonExited: The daemon 'main'" in output
    assert "unknown flag: --nonsense" in output


def test_keep(project: Project, traces: Traces, other: OtherHost) -> None:
    """A kept daemon outlives its users; the summary says how to use it and to remove it."""
    project.write("def test_it(dind_client): pass")
    output = project.run("--dind-keep=always", "-n2", "--dist=each")
    found = dict(re.findall(r"(DOCKER_\w+)=(\S+)", output))
    assert http.ping(found["DOCKER_HOST"], found["DOCKER_CERT_PATH"])
    [name] = set(re.findall(r"pytest_dind rm (\S+)", output))

    other.client.api.remove_container(name, force=True, v=True)
    shutil.rmtree(Path(found["DOCKER_CERT_PATH"]).parents[1])


def _answer(host: str, context: ssl.SSLContext) -> bytes:
    """What the daemon says over a connection like this; nothing when it refuses it."""
    url = urlsplit(host)
    try:
        with (
            socket.create_connection((url.hostname or "", url.port or 0), 5) as plain,
            context.wrap_socket(plain, server_hostname=url.hostname) as connection,
        ):
            connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return connection.recv(100)
    except (ssl.SSLError, ConnectionError):
        return b""


def test_client_without_its_certificate(far: Daemon, tmp_path: Path) -> None:
    """A client with another CA's certificate, or with none, is refused, and refuses the daemon."""
    ca = Path(far.record.certificates, http.CA)
    assert b"200 OK" in _answer(far.host, http.context(far.record.certificates))
    assert _answer(far.host, ssl.create_default_context(cafile=str(ca))) == b""

    _, client = certificates.make(["other"])
    path = tmp_path / "tls"
    client.write(path)
    assert http.ping(far.host, str(path)) is None
    assert not http.is_served(far.host, str(path))
    shutil.copy(ca, path)
    assert _answer(far.host, http.context(str(path))) == b""


def test_no_port_without_tls(far: Daemon, other: OtherHost) -> None:
    """The one port that is published for the daemon answers nothing without TLS."""
    assert far.container is not None
    ports = far.container.attrs["NetworkSettings"]["Ports"]
    served = [name for name, bindings in ports.items() if bindings]
    assert sorted(served) == ["2376/tcp", "8080/tcp"]
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(far.host.replace("tcp://", "http://") + "/_ping", timeout=5)


def test_address(far: Daemon, other: OtherHost) -> None:
    """A published port is reached on the other host; without forwarder, another is not."""
    with contextlib.closing(far.client()) as client:
        container = client.containers.run(
            NESTED_IMAGE,
            ["sh", "-c", "echo far >/index.html; exec httpd -f -p 80 -h /"],
            ports={"80/tcp": 8080, "81/tcp": 8081},
            detach=True,
        )
        try:
            address = far.address(container, 80)
            assert (address.host, address.port) == (other.address, 8080)

            def answer() -> bytes:
                with contextlib.suppress(OSError):
                    url = f"http://{address.host}:{address.port}/"
                    with urllib.request.urlopen(url, timeout=5) as got:
                        return bytes(got.read())
                return b""

            assert until(answer, 10, "the server answers") == b"far\n"
            with pytest.raises(AddressUnreachable) as caught:
                far.address(container, 81)
            assert "is not reached from here" in str(caught.value)
            assert "Publish a port with --dind-publish 8081/tcp" in str(caught.value)
        finally:
            container.remove(force=True)


def _unavailable(host: str) -> str:
    with contextlib.closing(Engine(host)) as engine, pytest.raises(EngineUnavailable) as caught:
        engine.client.ping()
    return str(caught.value)


@pytest.mark.parametrize("given", ["wrong", "none", "other"])
def test_engine_and_certificates(
    other: OtherHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str
) -> None:
    """An engine whose certificates don't fit is an error that names the variables for them."""
    _, client = certificates.make(["other"])
    client.write(tmp_path / "tls")
    if given == "wrong":
        shutil.copy(Path(other.certificates, http.CA), tmp_path / "tls")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    if given != "none":
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path / "tls"))
    text = _unavailable(other.url)

    assert f"The Docker engine at {other.url} cannot be used." in text
    assert "Give the certificates that the engine takes: DOCKER_TLS_VERIFY=1" in text


def test_host_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, other: OtherHost) -> None:
    """A host that accepts and says nothing is not waited for as a long call is."""
    for name, value in other.env.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        text = _unavailable(url)

    assert time.monotonic() - began < 20
    assert f"The Docker engine at {url} cannot be used." in text
    assert "Check that the engine runs and is reachable from here." in text


@pytest.mark.skipif(os.getuid() != 0, reason="entering a network namespace takes root")
def test_directory_that_is_not_shared(project: Project, other: OtherHost) -> None:
    """A unix socket of an engine that doesn't see the directory: TLS is used by itself."""
    project.write("def test_it(dind_client): assert dind_client.ping()")
    enter = ["nsenter", f"--net=/proc/{other.pid}/ns/net"]
    project.env = {}
    output = project.run(f"--dind-host=unix://{other.socket}", before=enter)

    because = "its containers don't see this process's directories"
    assert f"dind: engine unix://{other.socket}: over TLS, because {because}" in output


@pytest.mark.skipif(os.getuid() != 0, reason="entering a network namespace takes root")
def test_without_certificates(project: Project, other: OtherHost) -> None:
    """Without the library for certificates the error names it, on both ways to need it."""
    project.write("raise ImportError('none')", "cryptography.py")
    project.write("def test_it(dind_client): pass")
    env = {"PYTHONPATH": str(project.path)}
    enter = ["nsenter", f"--net=/proc/{other.pid}/ns/net"]
    host = f"--dind-host=unix://{other.socket}"
    shared = project.run(host, env=env, before=enter, code=1)
    remote = project.run(env={**other.env, **env}, code=1)

    assert "EngineUnavailable: The outer engine cannot start the daemon 'main'" in shared
    assert "bind source path does not exist" in shared
    assert "ModeUnavailable: A daemon on an engine that shares no file system" in remote
    for output in (shared, remote):
        assert "pip install 'pytest-dind[remote]'" in output


def test_files_of_the_suite(project: Project) -> None:
    """The engine has none of this machine's files, which is told; copies of them work."""
    (project.path / "data").mkdir()
    (project.path / "data" / "big").write_bytes(b"x" * 3_000_000)
    project.write(
        f"""
        def test_it(dind_client):
            volumes = {{"{project.path}": {{"bind": "/w"}}}}
            listed = dind_client.containers.run(
                "{NESTED_IMAGE}", ["stat", "-c", "%s", "/w/data/big"], volumes=volumes, remove=True
            )
            assert listed == b"3000000\\n"
        """
    )
    output = project.run(
        *("--dind-load", NESTED_IMAGE, "--dind-mount=tmp", "--dind-mount=copy:project")
    )

    assert re.search(
        r"^dind: tmp \(.*\) is not in the daemon, since its file system is not shared; "
        "--dind-mount copy:PATH copies files there$",
        output,
        re.MULTILINE,
    )
    assert re.search(
        rf"^dind: copied {project.path} into the daemon: 3\.\d MB in ", output, re.MULTILINE
    )


@pytest.mark.parametrize("by", ["url", "socket"])
def test_file_that_the_engine_does_not_have(
    project: Project, traces: Traces, other: OtherHost, by: str
) -> None:
    """A path by its name is an error there, also where only the start shows that it is one."""
    project.write("def test_it(dind_client): pass")
    host = other.url if by == "url" else f"unix://{other.socket}"
    output = project.run(f"--dind-host={host}", "--dind-mount=test_it.py", code=1)

    assert f"--dind-mount: the daemon can't have {project.path}/test_it.py." in output
    assert "The outer engine does not see this machine's files" in output
    assert "--dind-mount copy:PATH" in output
    traces.assert_nothing_left(seconds=1)


def test_project_that_the_engine_does_not_see(
    project: Project, other: OtherHost, room: Path
) -> None:
    """An engine that sees the temp dir, but not the project, is not taken for one elsewhere."""
    shared = other.socket.parent / "t"
    shared.mkdir()
    enter = ["nsenter", "-t", str(other.pid), "-m", "sh", "-c"]
    mount = f"mkdir -p {shared} && mount --bind /share/t {shared}"
    subprocess.run([*enter, mount], check=True)
    try:
        project.write("def test_it(dind_daemon): assert dind_daemon.host.startswith('unix://')")
        output = project.run(f"--dind-host=unix://{other.socket}", env={"TMPDIR": str(shared)})
    finally:
        subprocess.run([*enter, f"umount {shared}"], check=True)
        remove_tree(shared)

    assert (
        f"dind: project ({project.path}) is not in the daemon, since the engine has no such path; "
        "--dind-mount copy:PATH copies files there" in output
    )


def test_look_into_a_daemon(far: Daemon, other: OtherHost) -> None:
    """Its log, also what comes, and a command in its container are had over TLS too."""
    command, name = [sys.executable, "-m", "pytest_dind"], far.record.home.label
    environment = {**os.environ, **other.env}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words],
            env=environment,
            input="in\n",
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert run("logs", name).stdout == far.logs()
    assert run("logs", name, "--tail", "1").stdout == far.logs(1)
    done = run("shell", name, "--", "sh", "-c", "cat; docker version -f {{.Server.Os}}; exit 7")
    assert (done.stdout, done.returncode) == ("in\nlinux\n", 7), done.stderr
    words = [*command, "logs", "-f", "-n", "1", name]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            far.exec(["sh", "-c", "echo one more >>/run/pytest-dind/log"])
            assert process.stdout.readline() == "one more\n"
        finally:
            process.send_signal(2)
        assert process.wait(60) == 130


def test_report(project: Project) -> None:
    """The report of a failed test has what happened in the daemon, over TLS too."""
    project.options = (*project.options, "--dind-load", NESTED_IMAGE)
    project.write(
        f"""
        def test_it(dind_client, dind_daemon):
            command = ["sh", "-c", "echo says it; sleep 600"]
            it = dind_client.containers.run({NESTED_IMAGE!r}, command, detach=True, name="it")
            dind_daemon.wait_for(it, log="says it")
            it.remove(force=True)
            assert 0
        """
    )
    output = project.run(code=1)

    assert f"dind log of container 'it' ({NESTED_IMAGE}), exited with code 137, removed" in output
    assert "Its last log lines:\nsays it\n" in output
