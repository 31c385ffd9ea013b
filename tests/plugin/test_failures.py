"""What a failed test shows of the plugin's errors."""

from __future__ import annotations

import pytest

_NOBODY = "--dind-host=unix:///nonexistent/docker.sock"
_SAYS = [
    "E   pytest_dind.errors.EngineUnavailable: "
    "The Docker engine at unix:///nonexistent/docker.sock cannot be used.",
    "E   Evidence:",
    "E     There is no socket /nonexistent/docker.sock.",
    "E   To fix this, either:",
]
# A call of the plugin that fails, in a function of the project.
_FAILS = """
    from pytest_dind import Settings

    def helper():
        Settings().replace(images="x")
    """


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def _shown(result: pytest.RunResult) -> list[str]:
    """The lines between the heading of the only failure and the summary."""
    lines = result.stdout.lines
    start = next(i for i, line in enumerate(lines) if line.startswith("____"))
    return lines[start + 1 : next(i for i, line in enumerate(lines) if "short test summ" in line)]


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["alone", "xdist"])
def test_fixture_that_cannot_be_had(pytester: pytest.Pytester, workers: list[str]) -> None:
    """A test whose daemon can't be had shows the error's text and nothing else."""
    pytester.makepyfile("def test_it(dind_client): pass")
    result = pytester.runpytest_subprocess(_NOBODY, "-p", "no:randomly", *workers)

    shown = [line for line in _shown(result) if line and not line.startswith("[gw")]
    assert shown[:4] == _SAYS
    assert len(shown) == 6
    result.stdout.fnmatch_lines(
        ["ERROR test_fixture*::test_it - EngineUnavailable: The Docker engine*"]
    )


def test_full_trace(pytester: pytest.Pytester) -> None:
    """With `--full-trace` the plugin's own lines are there."""
    pytester.makepyfile("def test_it(dind_client): pass")
    result = pytester.runpytest_subprocess(_NOBODY, "--full-trace")

    assert "FileNotFoundError" in result.stdout.str()
    assert "engine.py:" in result.stdout.str()


def test_own_lines_of_a_test(pytester: pytest.Pytester) -> None:
    """A call that fails in a test shows the test's lines up to the call, none of the plugin's."""
    pytester.makepyfile(f"{_FAILS}\n    def test_it(): helper()\n")
    result = pytester.runpytest_subprocess()

    text = "\n".join(_shown(result))
    assert 'Settings().replace(images="x")' in text
    assert "def test_it(): helper()" in text
    assert "E       pytest_dind.errors.SettingsError: Settings have no images." in text
    assert "settings.py" not in text
    result.stdout.fnmatch_lines(
        ["FAILED test_own*::test_it - SettingsError: Settings have no images."]
    )


def test_own_cause_of_a_test(pytester: pytest.Pytester) -> None:
    """An error of the plugin that follows from the test's own shows both."""
    pytester.makeconftest(
        """
        import pytest
        from pytest_dind import DaemonLost

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_call(item):
            try:
                return (yield)
            except AssertionError as error:
                raise DaemonLost("It is gone.", remedy=["Look."]) from error
        """
    )
    pytester.makepyfile("def test_it():\n    assert 1 == 2")
    text = pytester.runpytest_subprocess().stdout.str()

    assert "assert 1 == 2" in text
    assert "It is gone." in text


# A call of the plugin that raises as `Daemon.exec` does, and a command of the suite's own.
_COMMANDS = """
    import subprocess
    from types import SimpleNamespace

    from pytest_dind.daemon import commands
    from pytest_dind.engine.exec import Command

    DONE = subprocess.CompletedProcess(["x"], 3, b"said", b"why")

    def helper():
        backend = SimpleNamespace(exec=lambda record, command: DONE)
        commands.run(backend, None, Command(["x"]), check=True, text=True)

    def test_daemon(): helper()

    def test_own(): subprocess.run(["false"], check=True)
    """


def test_command_that_fails(pytester: pytest.Pytester) -> None:
    """A command that fails in a daemon shows the test's lines and its outputs, and no more."""
    pytester.makepyfile(_COMMANDS)
    result = pytester.runpytest_subprocess("-k", "daemon")
    text = "\n".join(_shown(result))

    assert "commands.run(backend, None" in text
    assert "CommandFailed: Command '['x']' returned non-zero exit status 3." in text
    assert "E       stdout: said" in text
    assert "E       stderr: why" in text
    assert "commands.py" not in text
    assert "::test_daemon - CommandFailed: Command '['x']' returned non" in result.stdout.str()


def test_own_command_that_fails(pytester: pytest.Pytester) -> None:
    """A command of the suite's own is shown as ever."""
    pytester.makepyfile(_COMMANDS)
    text = "\n".join(_shown(pytester.runpytest_subprocess("-k", "own")))

    assert "subprocess.py:" in text
