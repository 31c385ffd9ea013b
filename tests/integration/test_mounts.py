"""The suite's own files in a daemon: binds of nested containers, as on the machine's own engine."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from conftest import NESTED_IMAGE
from pytest_dind.engine.engine import Engine

from ..support import remove_tree
from .conftest import DeriveImage
from .projects import Project
from .traces import Traces

_LOAD = ("--dind-load", NESTED_IMAGE)

_HELPERS = f"""
    import os, subprocess
    from pathlib import Path

    import pytest

    IMAGE = "{NESTED_IMAGE}"
    HERE = Path(__file__).parent

    @pytest.fixture(scope="session")
    def cli(dind_env):
        def cli(*arguments, **options):
            command = ["docker", *map(str, arguments)]
            done = subprocess.run(command, env=dind_env, capture_output=True, text=True, **options)
            assert done.returncode == 0, done.stderr
            return done.stdout
        return cli

    @pytest.fixture(scope="session")
    def nested(cli):
        def nested(script, *volumes):
            options = [word for volume in volumes for word in ("-v", volume)]
            return cli("run", "--rm", *options, IMAGE, "sh", "-c", script)
        return nested
"""

_BINDS = """
    from conftest import HERE, IMAGE, Path, os, pytest

    COMPOSE = f'''
    services:
      one:
        image: {IMAGE}
        command: cat /www/index.html /run/secrets/word /app.conf
        volumes: ["./site:/www:ro"]
        secrets: [word]
        configs: [{{source: app, target: /app.conf}}]
    secrets: {{word: {{file: ./secret word}}}}
    configs: {{app: {{file: ./app.conf}}}}
    '''

    def test_short_and_long_syntax(cli):
        for option in (
            ["-v", f"{HERE}:/w:ro"],
            ["--mount", f"type=bind,src={HERE},dst=/w,readonly"],
        ):
            assert "test_it.py" in cli("run", "--rm", *option, IMAGE, "ls", "/w")

    def test_single_file(nested, tmp_path):
        (tmp_path / "a, b.sql").write_text("select 1")
        assert nested("cat /x.sql", f"{tmp_path}/a, b.sql:/x.sql:ro") == "select 1"

    def test_written_back(dind_client, nested, tmp_path):
        os.chown(tmp_path, 1234, os.getgid()) if os.getuid() == 0 else None
        owner = tmp_path.stat().st_uid
        dind_client.containers.run(
            IMAGE,
            ["sh", "-c", f"[ $(stat -c %u /out) = {owner} ] && echo hi >/out/x"],
            volumes={str(tmp_path): {"bind": "/out", "mode": "rw"}},
            remove=True,
        )
        assert (tmp_path / "x").read_text() == "hi\\n"
        (tmp_path / "x").write_text("back")
        assert nested("cat /out/x", f"{tmp_path}:/out") == "back"

    def test_compose(cli, tmp_path):
        (tmp_path / "site").mkdir()
        for name in ("site/index.html", "secret word", "app.conf"):
            (tmp_path / name).write_text(f"{name}\\n")
        (tmp_path / "compose.yaml").write_text(COMPOSE)
        out = cli("compose", "run", "--rm", "one", cwd=tmp_path)
        assert out == "site/index.html\\nsecret word\\napp.conf\\n"
        cli("compose", "down", cwd=tmp_path)

    def test_command_in_the_daemon(dind_daemon, tmp_path):
        (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\\n")
        assert dind_daemon.exec(["ls"], workdir=str(tmp_path)).stdout == "Dockerfile\\n"

    @pytest.mark.requires_isolation
    def test_sockets_of_runs(dind_daemon, nested):
        base = Path(dind_daemon.host.removeprefix("unix://")).parents[2]
        assert nested(f"ls -A /d{base} 2>/dev/null | wc -l", "/:/d:ro").strip() == "0"
"""


def _suite(project: Project, tests: str) -> None:
    project.write(_HELPERS, "conftest.py")
    project.write(tests)


def test_binds(project: Project) -> None:
    """Binds in each form work both ways, by every tool; the owners stay."""
    _suite(project, _BINDS)
    project.run(*_LOAD)


def test_binds_in_mode_socket(project: Project) -> None:
    """In mode socket the same suite works, and nothing else may be bound than what is named."""
    _suite(project, _BINDS)
    project.write(
        """
        import tempfile
        from conftest import HERE, pytest

        def test_else(nested):
            with tempfile.TemporaryDirectory() as other:
                with pytest.raises(AssertionError, match="which is outside of"):
                    nested("true", f"{other}:/w")

        def test_read_only(nested, dind_daemon):
            assert nested("ls /w", f"{HERE}:/w:ro")
            with pytest.raises(AssertionError, match="that is not read-only"):
                nested("ls /w", f"{HERE}:/w")
            assert dind_daemon.exec(["touch", str(HERE / "x")], check=False).returncode
        """,
        "test_socket.py",
    )
    project.run(
        *("--dind-mode=socket", "--dind-mount=project:ro", "--dind-mount=tmp", *_LOAD),
    )


@pytest.mark.parametrize("value", ["copy:p", "p:/in"])
def test_refused_in_mode_socket(project: Project, traces: Traces, value: str) -> None:
    """A copy and another path are not to be had on the outer engine itself."""
    (project.path / "p").mkdir()
    project.write("def test_it(dind_client): pass")
    output = project.run("--dind-mode=socket", f"--dind-mount={value}", code=1)

    assert "can't be had in mode socket" in output
    traces.assert_nothing_left(seconds=1)


def test_all_workers(project: Project) -> None:
    """The daemon that xdist's workers share has the tmp_path of each; the project has one root."""
    _suite(
        project,
        """
        from conftest import HERE

        def test_it(nested, tmp_path, worker_id):
            (tmp_path / "name").write_text(worker_id)
            found = nested("cat /w/name; ls /p/conftest.py", f"{tmp_path}:/w", f"{HERE}:/p")
            assert found == f"{worker_id}/p/conftest.py\\n"
        """,
    )
    output = project.run("-n2", "--dist=each", *_LOAD)

    assert output.count("ready in") == 1


def test_project_by_a_link(project: Project) -> None:
    """A project that is reached by a symbolic link is there by that name and by its real one."""
    link = project.path.parent / "a link"
    link.symlink_to(project.path.name)
    _suite(
        project,
        f"""
        from conftest import HERE, IMAGE

        def test_it(nested, cli):
            assert nested("ls /w; ls /v", "{link}:/w", "{project.path}:/v").split().count(
                "test_it.py") == 2
            (HERE / "compose.yaml").write_text(
                "services: {{one: {{image: " + IMAGE + ", command: ls /w, volumes: ['.:/w']}}}}"
            )
            assert "test_it.py" in cli("compose", "run", "--rm", "one")
            cli("compose", "down")
        """,
    )
    # As a shell has it in which the directory was entered by the link.
    project.run(*_LOAD, env={"PWD": str(link)})


@pytest.mark.requires_isolation
def test_what_is_named(project: Project) -> None:
    """Another place, read-only, and the temp dir: where it is mounted, all runs stay hidden.

    That holds for each nested container that binds the path, what is above it, or a volume of it.
    """
    room = project.path.parent
    (room / "a\\b c,d").mkdir()
    (room / "a\\b c,d" / "file").write_text("content")
    (room / "t" / "pytest-dind-4321").mkdir()
    (room / "t" / "pytest-dind-4321" / "secret").touch()
    _suite(
        project,
        f"""
        from conftest import HERE, Path, os, pytest

        ROOM = Path("{room}")

        def test_place(nested):
            assert nested("cat /w/file", "/in/that:/w") == "content"
            assert nested(f"touch /w/x 2>&1; ls /w", f"{{HERE}}:/w").count("Read-only") == 1

        def test_others(dind_daemon, nested):
            base = Path(dind_daemon.host.removeprefix("unix://")).parents[2]
            assert os.listdir(base) and base.parent == ROOM / "t"
            hidden = [base.name, "pytest-dind-4321"]
            for bound, inside in ((ROOM, "t"), (ROOM / "t", ""), ("/", ROOM / "t"), ("/all", "t")):
                for name in hidden:
                    path = f"/d/{{str(inside).strip('/')}}/{{name}}"
                    assert nested(f"test -d {{path}} && ls -A {{path}} | wc -l", f"{{bound}}:/d") \\
                        == "0\\n"
                    assert nested(f"touch {{path}}/x || echo no", f"{{bound}}:/d") == "no\\n"
            volume = dict(type="none", o="rbind", device=str(ROOM))
            client = dind_daemon.client()
            client.volumes.create("room", driver="local", driver_opts=volume)
            assert nested(f"ls -A /d/t/{{base.name}} | wc -l", "room:/d") == "0\\n"
            client.close()
        """,
    )
    odd = str(room / "a\\b c,d")
    project.run(
        *_LOAD,
        "--dind-mount=project:ro",
        f"--dind-mount={odd}:/in/that",
        f"--dind-mount={room}",
        f"--dind-mount={room}:/all",
    )


@pytest.mark.requires_isolation
def test_none(project: Project) -> None:
    """With an empty value the daemon has none of this machine's files; a bind of one warns."""
    _suite(
        project,
        """
        from conftest import HERE

        def test_it(nested, tmp_path):
            assert nested("ls -A /w /v | wc -w", f"{HERE}:/w", f"{tmp_path}:/v").strip() == "2"
        """,
    )
    warns = ("-W", "default::pytest_dind.DindWarning")
    output = project.run("--dind-mount=", *_LOAD, *warns)

    assert f"binds {project.path}, which is on this machine and not in the daemon" in output


@pytest.mark.requires_isolation
def test_image_that_mounts_its_tmp(project: Project, derive: DeriveImage, tmp_path: Path) -> None:
    """The official image mounts a file system on /tmp; it hides nothing that is mounted there."""
    script = "mountpoint -q /tmp || mount -t tmpfs none /tmp; exec "
    image = derive(
        f"""printf '#!/bin/sh\\n%s"$@"\\n' {shlex.quote(script)} >/entry; chmod +x /entry""",
        'ENTRYPOINT ["/entry"]',
    )
    (tmp_path / "file").touch()
    _suite(
        project,
        f"""
        def test_it(nested, dind_daemon):
            assert nested("ls /w", "{tmp_path}:/w") == "file\\n"
            # Programs are run there.
            run = "echo echo ran >/tmp/x && chmod +x /tmp/x && /tmp/x && stat -c %a /tmp"
            assert dind_daemon.exec(["sh", "-c", run]).stdout == "ran\\n1777\\n"
        """,
    )
    project.run(f"--dind-image={image}", f"--dind-mount={tmp_path}", *_LOAD)


@pytest.mark.requires_isolation
def test_copy(project: Project) -> None:
    """A copy is there from the start, without what is ignored; its changes stay in the daemon."""
    (project.path / "data").mkdir()
    (project.path / "data" / ".dockerignore").write_text("*.log\n")
    for name in ("a.txt", "b.log"):
        (project.path / "data" / name).write_text(name)
    _suite(
        project,
        """
        from conftest import HERE, os

        def test_it(nested, dind_daemon):
            assert nested("ls /w; echo hi >/w/new", f"{HERE}/data:/w") == "a.txt\\n"
            assert nested("cat /w", "/etc/one:/w") == "b.log"
            assert not (HERE / "data" / "new").exists()
            found = dind_daemon.exec(["stat", "-c", "%u %a", str(HERE / "data" / "a.txt")]).stdout
            known = (HERE / "data" / "a.txt").stat()
            assert found.split() == [str(known.st_uid), f"{known.st_mode & 0o777:o}"]
        """,
    )
    output = project.run("--dind-mount=copy:data", "--dind-mount=copy:data/b.log:/etc/one", *_LOAD)

    assert f"dind: copied {project.path}/data into the daemon: 0.0 MB in" in output


@pytest.mark.requires_isolation
def test_reuse(project: Project, traces: Traces, engine: Engine) -> None:
    """The next run's tmp_path is in a reused daemon too; another project gets another daemon."""
    _suite(
        project,
        """
        from conftest import HERE

        def test_it(nested, tmp_path, dind_daemon):
            (tmp_path / "file").touch()
            assert nested("ls /w", f"{tmp_path}:/w") == "file\\n"
            assert dind_daemon.exec(["cat", "/srv/data"]).stdout == (HERE / "data").read_text()
            with open("../ids", "a") as file:
                print(dind_daemon.id, file=file)
        """,
    )
    (project.path / "data").write_text("first")
    copied = ("--dind-mount=project", "--dind-mount=tmp", "--dind-mount=copy:data:/srv/data")
    options = ("--dind-reuse=mounts", *copied, *_LOAD)
    project.run(*options)
    (project.path / "data").write_text("second")
    project.run(*options)
    # A directory that is made anew is another one, which the daemon does not have.
    (project.temp / "pytest-of-x").mkdir()
    base = next(project.temp.glob("pytest-of-*[!x]"))
    base.rename(project.temp / "gone")
    output = project.run(*options)

    first, second, third = (project.path.parent / "ids").read_text().split()
    assert first == second != third
    assert f"{base}, which it has mounted, was made anew" in output
    (project.path.parent / "q").mkdir()
    project.path.rename(project.path.parent / "q" / "p")
    project.path = project.path.parent / "q" / "p"
    output = project.run(*options)
    assert "dind: reuse: settings changed (mount: " in output
    for container in traces.containers():
        engine.client.api.remove_container(container, force=True, v=True)
    for path in project.temp.glob("pytest-dind-*/reuse-*-*"):
        remove_tree(path)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("missing/file", "/p/missing/file does not exist."),
        ("file:/srv", "vice-versa"),
        ("../t/pytest-dind-{uid}:/in", "The sockets of all runs are in"),
        ("copy:file:/root", "could not be copied into the daemon"),
    ],
)
@pytest.mark.requires_isolation
def test_mistakes(project: Project, traces: Traces, value: str, says: str) -> None:
    """What can't be mounted is an error that says why, and leaves nothing."""
    uid = project.temp.stat().st_uid
    (project.path / "file").touch()
    project.write("def test_it(dind_client): pass")
    output = project.run(f"--dind-mount={value.format(uid=uid)}", code=1)

    assert "--dind-mount" in output
    assert says in output
    assert "To fix this" in output
    traces.assert_nothing_left(seconds=1)
