"""Logs as reports show them."""

from __future__ import annotations

import pytest

from pytest_dind.recorder.text import Secrets, last_lines

_NONE = Secrets([])


@pytest.mark.parametrize(
    ("logged", "shown"),
    [
        (b"", []),
        (b"one\ntwo\nthree\n", ["two", "three"]),
        (b"one\n\nthree", ["", "three"]),
        (b"\xff\xfe", ["\\xff\\xfe"]),
        (b"\x00\x07\x1b]0;title", ["\\x00\\x07\\x1b]0;title"]),
        (b"\x1b[1;31mred\x1b[0m\tx\r\n", ["red\tx"]),
        (b"10%\r100%\r\n", ["100%"]),
        ("größer".encode(), ["größer"]),
    ],
)
def test_last_lines(logged: bytes, shown: list[str]) -> None:
    """At most so many lines, as a terminal may have them; what is no text is shown by numbers."""
    assert last_lines(logged, 2, _NONE) == shown


def test_no_lines() -> None:
    """None are asked for."""
    assert last_lines(b"one\ntwo\n", 0, _NONE) == []


def test_long_line() -> None:
    """A line is cut, and it says by how much."""
    (line,) = last_lines(b"x" * 1_000_000, 20, _NONE)
    assert line == "x" * 500 + "... (999500 more characters)"


@pytest.mark.parametrize(
    ("secret", "logged"),
    [
        ("s3cret", "the s3cret it is"),
        ("s3cret", "the \x1b[31ms3cret\x1b[0m it is"),
        ('a"quoted\\one', 'the a\\"quoted\\\\one it is'),
        ("a/b c", "the a%2Fb%20c it is"),
        ("http://me:pa55word@proxy:3128", "the pa55word it is"),
        ("-----BEGIN-----\nMIIB5678\n-----END-----", "the MIIB5678 it is"),
        ("s3cret\n", "the s3cret it is"),
    ],
)
def test_secrets(secret: str, logged: str) -> None:
    """A secret is masked, also quoted, by a line of it, and the password of a URL."""
    assert last_lines(logged, 20, Secrets([secret, ""])) == ["the *** it is"]


def test_secret_in_another() -> None:
    """The longer of two is masked whole."""
    assert Secrets(["word", "password"]).mask("password") == "***"


def test_short_values() -> None:
    """What is too short for a secret masks nothing."""
    assert Secrets(["1", "yes"]).mask("1 yes") == "1 yes"


def test_secret_that_is_cut_in_two() -> None:
    """Where a log's beginning is missing, so is what may be the rest of a secret."""
    assert last_lines("ecret, and more", 20, Secrets(["s3cret"]), is_cut=True) == [" and more"]


def test_secret_at_the_end_of_a_long_line() -> None:
    """A line is cut after it is masked: no half of a secret is left."""
    (line,) = last_lines("x" * 497 + "s3cret", 20, Secrets(["s3cret"]))
    assert line == "x" * 497 + "***"
