"""The option `--dind-doctor`, as a pytest run takes it."""

from __future__ import annotations

from importlib import import_module

import pytest

_NO_ENGINE = "--dind-host=unix:///none/s"


@pytest.fixture(autouse=True)
def _test_that_says_so(pytester: pytest.Pytester) -> None:
    """A test that would be seen to run."""
    pytester.makepyfile("def test_it(): print('a test ran')")


def _says(result: pytest.RunResult, code: int) -> None:
    """Check that the doctor spoke, and no test ran."""
    text = result.stdout.str()
    assert result.ret == code
    assert "There is no socket /none/s." in text
    assert "Kernel of this machine" in text
    assert "a test ran" not in text


@pytest.mark.parametrize("option", ["--dind-doctor", "--dind-doctor=quick", "--dind-doctor=full"])
def test_instead_of_tests(pytester: pytest.Pytester, option: str) -> None:
    """The option prints what the machine can do, runs no test, and its exit code is the answer."""
    _says(pytester.runpytest(option, _NO_ENGINE, "-s"), 1)


def test_before_other_options(pytester: pytest.Pytester) -> None:
    """Without a value it takes none of what follows, as long as that is an option."""
    _says(pytester.runpytest("--dind-doctor", "-s", _NO_ENGINE, "."), 1)


def test_under_xdist(pytester: pytest.Pytester) -> None:
    """Under xdist no worker is started for it."""
    pytest.importorskip("xdist")
    result = pytester.runpytest("--dind-doctor", _NO_ENGINE, "-n2")

    _says(result, 1)
    assert "gw0" not in result.stdout.str()


def test_ini_key(pytester: pytest.Pytester) -> None:
    """The ini key does the same, and the command line wins over it."""
    pytester.makeini("[pytest]\ndind_doctor = quick\ndind_host = unix:///none/s")

    _says(pytester.runpytest("-s"), 1)
    result = pytester.runpytest("--dind-doctor=off", "-s")
    assert result.ret == pytest.ExitCode.OK
    assert "a test ran" in result.stdout.str()


@pytest.mark.parametrize("value", ["yes", "", "test_it.py"])
def test_bad_value(pytester: pytest.Pytester, value: str) -> None:
    """A bad value, a path taken for one too, is a usage error that names the valid ones."""
    result = pytester.runpytest("--dind-doctor", value, "-s")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--dind-doctor: {value!r} is not a valid value." in result.stderr.str()
    assert "Valid: off, quick, full." in result.stderr.str()
    assert "a test ran" not in result.stdout.str()


def test_other_bad_values(pytester: pytest.Pytester) -> None:
    """Other options are checked first: the doctor answers for what they say."""
    result = pytester.runpytest("--dind-doctor", "--dind-mode=dnid")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--dind-mode: 'dnid' is not a valid value." in result.stderr.str()


def test_help_wins(pytester: pytest.Pytester) -> None:
    """With `--help` beside it there is help, and no examination."""
    result = pytester.runpytest("--dind-doctor", _NO_ENGINE, "--help")

    assert result.ret == pytest.ExitCode.OK
    assert "--dind-doctor=[WHAT]" in result.stdout.str()
    assert "Kernel of" not in result.stdout.str()


def test_interrupted(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends it with pytest's own exit code for that, and is no error of pytest's."""

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    # The module as it is imported now: runs in this process forget what they have imported.
    monkeypatch.setattr(import_module("pytest_dind.doctor"), "examine", interrupted)
    config = pytester.parseconfig("--dind-doctor")

    assert config.hook.pytest_cmdline_main(config=config) == pytest.ExitCode.INTERRUPTED
