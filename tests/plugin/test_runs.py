"""Whole pytest runs without an engine: what they load, and how they end."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_NOBODY = "--dind-host=unix:///nonexistent/docker.sock"
# The plugin's own modules take pytest's loader half a millisecond each.
_OWN = (
    *("hooks", "runs", "backends", "daemon", "engine", "lifetime"),
    *("validation", "allowances", "errors"),
)
_HEAVY = ("docker", "requests", "tenacity", "filelock", *(f"pytest_dind.{name}" for name in _OWN))


@pytest.fixture(autouse=True)
def base(
    short_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where the runs of these tests have their directories, unlike this run itself."""
    tmp_path_factory.getbasetemp()
    monkeypatch.setenv("TMPDIR", str(short_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return short_path


def _loaded(pytester: pytest.Pytester, *options: str) -> str:
    """Which of the heavy modules a run has loaded at its end."""
    pytester.makeconftest(
        f"""
        import sys

        def pytest_unconfigure():
            print("loaded:", *(name for name in {_HEAVY!r} if name in sys.modules))
        """
    )
    result = pytester.runpytest_subprocess(*options)
    assert result.ret == pytest.ExitCode.OK
    lines = [line for line in result.stdout.lines if line.startswith("loaded:")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("options", [[], ["--collect-only"], ["-p", "no:terminal", "-s"]])
def test_unused_plugin_loads_nothing(pytester: pytest.Pytester, options: list[str]) -> None:
    """A run that asks for no daemon loads neither docker nor what else only a daemon needs.

    Not for a test that doesn't pass either: it may have patched what an import needs.
    """
    pytester.makepyfile(
        """
        import pytest

        def test_it(pytestconfig): pass

        def test_skipped(): pytest.skip()

        @pytest.mark.xfail
        def test_failed(): assert False
        """
    )

    assert _loaded(pytester, *options) == "loaded:"


def test_settings_load_nothing(pytester: pytest.Pytester) -> None:
    """To ask for the settings loads nothing either."""
    pytester.makepyfile("def test_it(dind_config): pass")

    assert _loaded(pytester) == "loaded:"


def test_runs_in_one_process(pytester: pytest.Pytester) -> None:
    """A suite that runs pytest in its own process, as pytester does, sees the same in each run."""
    pytester.makepyfile(
        f"""
        import pytest

        pytest_plugins = ["pytester"]

        @pytest.mark.parametrize("n", range(3))
        def test_bad_value(pytester, n):
            result = pytester.runpytest_inprocess("--dind-timeout=soon")
            assert result.ret == pytest.ExitCode.USAGE_ERROR

        @pytest.mark.parametrize("n", range(3))
        def test_unavailable(pytester, n):
            pytester.makepyfile(
                "import pytest\\n"
                "@pytest.mark.requires_isolation\\n"
                "def test_required(dind_client): pass\\n"
                "def test_skipped(dind_client): pass\\n"
            )
            result = pytester.runpytest_inprocess(
                {_NOBODY!r}, "--dind-unavailable=skip", "--dind-require=isolation"
            )
            result.assert_outcomes(errors=1, skipped=1)
        """
    )
    pytester.runpytest_subprocess("-p", "no:randomly").assert_outcomes(passed=6)


def test_unused_plugin_leaves_nothing(pytester: pytest.Pytester, base: Path) -> None:
    """A run that asks for no daemon makes no directory."""
    pytester.makepyfile("def test_it(dind_config): pass")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)

    assert not list(base.glob("pytest-dind-*"))


@pytest.mark.parametrize("options", [["--collect-only"], ["--setup-plan"], ["-k", "nothing"]])
def test_no_test_runs(pytester: pytest.Pytester, base: Path, options: list[str]) -> None:
    """A run that only plans asks for no daemon, even of an engine that is not there."""
    pytester.makepyfile("def test_it(dind_client): pass")
    result = pytester.runpytest_subprocess(_NOBODY, *options)

    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert not [path for path in base.glob("pytest-dind-*/*") if path.is_dir()]


def test_unavailable(pytester: pytest.Pytester) -> None:
    """Without an engine a test that needs a daemon is an error; others run."""
    pytester.makepyfile("def test_it(dind_client): pass\ndef test_other(): pass")
    result = pytester.runpytest_subprocess(_NOBODY)

    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*EngineUnavailable: The Docker engine at unix:///nonexistent/docker.sock cannot*",
            "*There is no socket /nonexistent/docker.sock.",
            "*Start a Docker engine, or install one*",
        ]
    )


def test_unavailable_and_skip(pytester: pytest.Pytester) -> None:
    """With `--dind-unavailable=skip` the same test is skipped, with the same reason in a line."""
    pytester.makepyfile("def test_it(dind_client): pass\ndef test_too(dind_env): pass")
    result = pytester.runpytest_subprocess(
        _NOBODY, "--dind-unavailable=skip", "-rs", "-W", "error", "--strict-markers"
    )

    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(
        [
            "*SKIPPED*The Docker engine at unix:///nonexistent/docker.sock cannot be used. There "
            "is no socket /nonexistent/docker.sock. To fix this: Start * Or: Name another engine *"
        ]
    )


@pytest.mark.parametrize(
    "path", ["nobody-listens", "a-file"], ids=["nobody listens", "not a socket"]
)
def test_unusable_socket_and_warnings_as_errors(
    pytester: pytest.Pytester, base: Path, path: str
) -> None:
    """With warnings as errors, an engine that can't be reached makes none of its own."""
    import socket

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(base / "nobody-listens"))
    (base / "a-file").touch()
    pytester.makepyfile("import gc\ndef test_it(dind_client): pass\ndef test_other(): gc.collect()")
    result = pytester.runpytest_subprocess(
        f"--dind-host=unix://{base / path}", "--dind-unavailable=skip", "-W", "error"
    )

    result.assert_outcomes(skipped=1, passed=1)


def test_bad_settings_are_no_reason_to_skip(pytester: pytest.Pytester) -> None:
    """`--dind-unavailable=skip` does not hide a mistake in the settings."""
    result = pytester.runpytest_subprocess("--dind-unavailable=skip", "--dind-mode=dnid")

    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_nothing_left_without_an_engine(pytester: pytest.Pytester, base: Path) -> None:
    """A run whose engine can't be had leaves no directory of its own."""
    pytester.makepyfile("def test_it(dind_client): pass")
    pytester.runpytest_subprocess(_NOBODY).assert_outcomes(errors=1)

    assert not [path for path in base.glob("pytest-dind-*/*") if path.is_dir()]


def test_strict(pytester: pytest.Pytester) -> None:
    """The plugin goes with strict markers and config, warnings as errors, and without the cache."""
    pytester.makepyfile("def test_it(dind_config): pass")
    result = pytester.runpytest_subprocess(
        "--strict-markers", "--strict-config", "-W", "error", "-p", "no:cacheprovider"
    )

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("plugin", ["terminal", "capture", "xdist", "setupplan"])
def test_without_another_plugin(pytester: pytest.Pytester, plugin: str) -> None:
    """The plugin goes without plugins of pytest's own that it would talk to."""
    pytester.makepyfile("def test_it(dind_client): pass")
    result = pytester.runpytest_subprocess(_NOBODY, "-p", f"no:{plugin}")

    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_without_the_plugin(pytester: pytest.Pytester) -> None:
    """`-p no:dind` takes the plugin out."""
    pytester.makepyfile("def test_it(dind_config): pass")
    result = pytester.runpytest_subprocess("-p", "no:dind")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'dind_config' not found"])


def test_two_runs_in_one_process(pytester: pytest.Pytester, base: Path) -> None:
    """`pytest.main` twice in a process gives two runs that know nothing of each other."""
    pytester.makepyfile("def test_it(dind_client): pass")
    source = (
        "import pytest\n"
        f"first = pytest.main(['-q', {_NOBODY!r}, '--dind-unavailable=skip'])\n"
        f"second = pytest.main(['-q', {_NOBODY!r}])\n"
        "print('codes:', int(first), int(second))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True
    )

    assert "codes: 0 1" in done.stdout
    assert not [path for path in base.glob("pytest-dind-*/*") if path.is_dir()]


def test_xdist_without_an_engine(pytester: pytest.Pytester, base: Path) -> None:
    """Under xdist each test gets the same error, whole; nothing is left."""
    pytester.makepyfile(
        "import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_it(n, dind_client): pass"
    )
    result = pytester.runpytest_subprocess("-n2", _NOBODY)

    result.assert_outcomes(errors=4)
    assert result.stdout.str().count("There is no socket /nonexistent/docker.sock.") >= 4
    assert not [path for path in base.glob("pytest-dind-*/*") if path.is_dir()]


def test_no_engine_for_a_factory(pytester: pytest.Pytester) -> None:
    """A test that asks a factory alone is failed or skipped as others are, but for its mistakes."""
    pytester.makepyfile(
        """
        def test_it(dind_factory): dind_factory()
        def test_mistake(dind_factory): dind_factory(args="--debug")
        """
    )
    failing = pytester.runpytest_subprocess(_NOBODY)
    failing.assert_outcomes(failed=2)
    failing.stdout.fnmatch_lines(["*There is no socket /nonexistent/docker.sock."])
    skipping = pytester.runpytest_subprocess(_NOBODY, "--dind-unavailable=skip")
    skipping.assert_outcomes(failed=1, skipped=1)
    skipping.stdout.fnmatch_lines(["*--dind-arg: '--debug' is not a valid value."])


@pytest.mark.parametrize("host", ["tcp://localhost:abc", "ssh://h:70000"])
def test_host_that_is_none(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A URL that is none fails the tests that need an engine, and no others.

    Where the environment has it, that is: as an option, it is a usage error.
    """
    pytester.makepyfile("def test_it(dind_client): pass\ndef test_other(): pass")
    assert pytester.runpytest_subprocess(f"--dind-host={host}").ret == pytest.ExitCode.USAGE_ERROR
    monkeypatch.setenv("DOCKER_HOST", host)
    result = pytester.runpytest_subprocess()

    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([f"*EngineUnavailable: The Docker engine at {host} cannot be *"])
