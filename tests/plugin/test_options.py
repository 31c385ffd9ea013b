"""The options, as a pytest run takes them."""

from __future__ import annotations

import re

import pytest

from pytest_dind.settings import MODES

# From 9 on pytest has TOML tables of its own, in which values have types.
_TYPED = pytest.version_tuple >= (9,)

# The contract: each option with what its help says of its default.
_OPTIONS = {
    "mode": "(default: auto)",
    "image": "(default: docker:dind)",
    "host": "as the docker CLI finds it",
    "timeout": "(default: 60)",
    "arg": "repeatable",
    "publish": "repeatable",
    "forward": "(default: auto)",
    "load": "repeatable",
    "mount": "repeatable (default: project, tmp)",
    "unavailable": "(default: fail)",
}


def _help(pytester: pytest.Pytester) -> str:
    return " ".join(pytester.runpytest("--help").stdout.str().split())


@pytest.mark.parametrize("name", _OPTIONS)
def test_help(pytester: pytest.Pytester, name: str) -> None:
    """`--help` has each option of the contract, its default, its ini key, and the ini key's own."""
    text = _help(pytester)
    found = re.search(rf"--dind-{name}=[A-Z]+ (.*?); ini key: dind_{name} ", text)

    assert found is not None
    assert "--dind-" not in found[1]
    assert _OPTIONS[name] in found[1]
    kind = "float" if name == "timeout" and _TYPED else "(string|linelist)"
    assert re.search(rf" dind_{name} \({kind}\): ", text)


def test_help_names_every_mode(pytester: pytest.Pytester) -> None:
    """`--help` says which modes there are."""
    text = _help(pytester)

    assert not [mode for mode in ("auto", *MODES) if not re.search(rf"how .*{mode}.*mode", text)]


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--dind-mode=dnid", "--dind-mode: 'dnid' is not a valid value."),
        ("--dind-guard=none", "--dind-guard: 'none' is not a valid value."),
        ("--dind-guard-allow=all", "--dind-guard-allow: 'all' is not a valid value."),
        ("--dind-timeout=soon", "--dind-timeout: 'soon' is not a valid value."),
        ("--dind-timeout=0", "--dind-timeout: 0.0 is not a valid value."),
        ("--dind-forward=on", "--dind-forward: 'on' is not a valid value."),
        ("--dind-publish=http", "--dind-publish: 'http' is not a valid value."),
        ("--dind-publish=1-65535", "--dind-publish: with '1-65535' these are more than 200 ports"),
        ("--dind-unavailable=no", "--dind-unavailable: 'no' is not a valid value."),
        ("--dind-image=", "--dind-image: '' is not a valid value."),
        ("--dind-mount=/a:b", "--dind-mount: '/a:b' is not a valid value."),
        ("--dind-mount=/a:/proc", "/a:/proc' is not a valid value."),
        ("--dind-env==x", "--dind-env: '=x' is not a valid value."),
    ],
)
def test_bad_value(pytester: pytest.Pytester, option: str, text: str) -> None:
    """A bad value is a usage error that names the valid ones, before any test runs."""
    pytester.makepyfile("def test_it(): print('a test ran')")
    result = pytester.runpytest(option, "-s")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert text in result.stderr.str()
    assert "Valid: " in result.stderr.str()
    assert "a test ran" not in result.stdout.str()


def test_file_that_is_no_certificate(pytester: pytest.Pytester) -> None:
    """A file that has no certificate is a usage error that names it."""
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest("--dind-ca=test_file_that_is_no_certificate.py")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = "--dind-ca: 'test_file_that_is_no_certificate.py' is not a file with a certificate."
    assert text in result.stderr.str()


def test_bad_ini_value(pytester: pytest.Pytester) -> None:
    """A bad value of an ini key is a usage error as well, and the command line can mend it."""
    pytester.makeini("[pytest]\ndind_mode = dnid")
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "(or the ini key dind_mode)" in result.stderr.str()
    assert pytester.runpytest("--dind-mode=dind").ret == pytest.ExitCode.OK


def test_unknown_option(pytester: pytest.Pytester) -> None:
    """An option that does not exist is a usage error, even one of the plugin's own prefix."""
    assert pytester.runpytest("--dind-imgae=x").ret == pytest.ExitCode.USAGE_ERROR


def test_fixtures(pytester: pytest.Pytester) -> None:
    """`--fixtures` has each fixture with its scope and what it gives."""
    text = pytester.runpytest("--fixtures").stdout.str()
    for name in (
        "dind_client",
        "dind_daemon",
        "dind_env",
        "dind_activated",
        "dind_mode",
        "dind_config",
    ):
        found = re.search(rf"^{name} \[session scope\] -- \S+\n    (\S.*)", text, re.MULTILINE)
        assert found is not None, name
        assert "no docstring" not in found[1]


def test_config_fixture(pytester: pytest.Pytester) -> None:
    """`dind_config` has what command line and ini file say; `dind_mode` the mode in force."""
    pytester.makeini("[pytest]\ndind_timeout = 7\ndind_image = ini:tag")
    pytester.makepyfile(
        """
        def test_it(dind_config, dind_mode):
            assert (dind_config.image, dind_config.timeout) == ("cli:tag", 7)
            assert dind_config.mode == dind_mode == "dind"
        """
    )
    pytester.runpytest("--dind-image=cli:tag", "--dind-mode=dind").assert_outcomes(passed=1)


def test_override(pytester: pytest.Pytester) -> None:
    """A project's own `dind_config` changes the settings of all that asks for them."""
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config):
            return dind_config.replace(mode="dind", load=["busybox"])
        """
    )
    pytester.makepyfile(
        """
        def test_it(dind_config, dind_mode):
            assert dind_config.load == ("busybox",)
            assert dind_config.image == "cli:tag"
            assert dind_mode == "dind"
        """
    )
    pytester.runpytest("--dind-image=cli:tag").assert_outcomes(passed=1)


def test_bad_override(pytester: pytest.Pytester) -> None:
    """An override that can't work fails the tests that ask for it, with the valid names."""
    pytester.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def dind_config(dind_config):
            return dind_config.replace(images="x")
        """
    )
    pytester.makepyfile("def test_it(dind_config): pass")
    result = pytester.runpytest()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Settings have no images.", "*Valid: mode, image, *"])


@pytest.mark.parametrize("value", [None, {"image": "x"}, 5], ids=str)
def test_override_that_gives_no_settings(pytester: pytest.Pytester, value: object) -> None:
    """An override that gives something else, as without `return`, is told by its name."""
    pytester.makeconftest(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def dind_config():
            return {value!r}
        """
    )
    pytester.makepyfile(
        """
        import pytest

        def test_mode(dind_mode): pass
        def test_daemon(dind_daemon): pass
        def test_factory(dind_factory): pass

        @pytest.mark.requires_sysbox
        def test_mark(): pass
        """
    )
    result = pytester.runpytest()

    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(
        [
            f"*The fixture dind_config gives {value!r} instead of settings.",
            "*Have its override return dind_config.replace(...), or dind_config.",
        ]
    )


@pytest.mark.skipif(not _TYPED, reason="Before 9, pytest has no TOML tables of its own.")
@pytest.mark.parametrize("value", ["5", "5.5"])
def test_number_in_toml(pytester: pytest.Pytester, value: str) -> None:
    """In pytest's own TOML table, a number is written as a number."""
    pytester.makepyprojecttoml(
        f"""
        [tool.pytest]
        dind_timeout = {value}
        dind_cpus = "1.5"
        dind_publish = ["8080"]
        """
    )
    pytester.makepyfile(
        f"""
        def test_it(dind_config):
            assert (dind_config.timeout, dind_config.cpus) == ({value}, "1.5")
            assert dind_config.publish == ("8080",)
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


@pytest.mark.skipif(not _TYPED, reason="Before 9, pytest has no TOML tables of its own.")
@pytest.mark.parametrize(
    ("key", "value"), [("cpus", "1.5"), ("publish", "[8080]"), ("load", '"x"'), ("timeout", '"5"')]
)
def test_other_type_in_toml(pytester: pytest.Pytester, key: str, value: str) -> None:
    """A value of another type is a usage error that says how to write it."""
    pytester.makepyprojecttoml(f"[tool.pytest]\ndind_{key} = {value}")
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert f"The ini key dind_{key} has a value of a type that it can't have." in text
    assert f"config option 'dind_{key}' expects" in text
    assert "Write a number of seconds as a number" in text


def test_number_that_is_none_in_ini(pytester: pytest.Pytester) -> None:
    """So is a text in an ini file that is no number."""
    pytester.makeini("[pytest]\ndind_timeout = soon")
    pytester.makepyfile("def test_it(): pass")
    result = pytester.runpytest()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "soon" in result.stderr.str()
    assert "To fix this" in result.stderr.str()
