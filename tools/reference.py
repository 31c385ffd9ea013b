"""The reference in docs/: options, fixtures, handle, errors and the rest, from the code itself.

python tools/reference.py --write    write again what is between the markers in docs/*.md
python tools/reference.py --check    say what is not as the code has it, and end with 1 then

A marker is `<!-- reference: KIND NAME ... -->`; what it stands for goes on to `<!-- end -->`. KIND
is option, fixture, markers, class, module, errors, hook or command. What a page says between these
blocks is written by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import re
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import griffe
from _console import Problem, say
from public import INTERNAL

import pytest_dind
from pytest_dind import DindError, Settings, __main__, options

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(?P<begin><!-- reference: (?P<words>[^\n]+?) -->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)
_FIXTURE = "pytest.fixture"
_WIDTH = 88
_MARKER = re.compile(r"(?P<call>\(.*?\))?: (?P<text>.*)", re.DOTALL)


def main(arguments: list[str] | None = None) -> int:
    """Write the reference, or check it; give the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("reference.py", description=__doc__, formatter_class=formatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true", help="write it")
    what.add_argument("--check", action="store_true", help="write nothing")
    try:
        return bring_up_to_date(ROOT / "docs", write=parser.parse_args(arguments).write)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1


def bring_up_to_date(docs: Path, *, write: bool) -> int:
    """Make the blocks of all pages; give 1 where some were old and are not to be written."""
    reference = Reference()
    old = []
    for page in sorted(docs.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        made = BLOCK.sub(lambda found: found["begin"] + reference.block(found) + found["end"], text)
        if made != text:
            old.append(page)
            if write:
                page.write_text(made, encoding="utf-8")
                say(f"written: {page.relative_to(docs.parent)}")
    reference.demand_all()
    if old and not write:
        raise Problem(
            "the reference is not as the code has it",
            ", ".join(str(page.relative_to(docs.parent)) for page in old),
            "python3 tools/bootstrap.py run -e docs -- --write",
        )
    return 0


class Reference:
    """The blocks, each made of what the code says; knows which have been asked for."""

    def __init__(self) -> None:
        self.package = _package()
        self.made: set[tuple[str, str]] = set()

    def block(self, found: re.Match[str]) -> str:
        """The text of the block with these words in its marker.

        Raises:
            Problem: there is no such thing.
        """
        kind, *names = found["words"].split()
        make: Callable[..., Iterator[str]] | None = getattr(self, f"_{kind}", None)
        try:
            if make is None:
                raise KeyError(kind)
            lines = list(make(*names))
        except (KeyError, TypeError) as error:
            raise Problem(
                f"nothing is known for the marker: {found[0].splitlines()[0]}",
                repr(error),
                "see the head of tools/reference.py for what a marker may ask for",
            ) from error
        self.made.add((kind, names[0] if names else ""))
        return "\n" + "\n".join(lines).strip() + "\n\n"

    def demand_all(self) -> None:
        """Check that all that is public has its block.

        Raises:
            Problem: something has none.
        """
        wanted = {("option", field.name) for field in dataclasses.fields(Settings)}
        wanted |= {("fixture", name) for name in self._fixtures()}
        wanted |= {("hook", name) for name in self.package["plugin.HookSpecs"].members}
        wanted |= {("markers", ""), ("errors", ""), ("command", ""), ("module", "testing")}
        wanted |= {("class", name) for name in pytest_dind.__all__ if not _is_error(name)}
        missing = sorted(wanted - self.made)
        if missing:
            raise Problem(
                "something public has no place in the reference",
                ", ".join(" ".join(one).strip() for one in missing),
                f"write `<!-- reference: {' '.join(missing[0]).strip()} -->` and `<!-- end -->` "
                "into the page of docs/ that it belongs to, then run -e docs -- --write",
            )

    # options

    def _option(self, name: str) -> Iterator[str]:
        fields = {field.name: field for field in dataclasses.fields(Settings)}
        field = fields[name]
        traits, default = field.metadata, field.default
        shown = ", ".join(map(_code, default if isinstance(default, tuple) else [default]))
        facts = [f"`--dind-{name.replace('_', '-')} {traits['metavar']}`", f"ini key `dind_{name}`"]
        facts.append(f"default: {shown if default or default == 0 else 'none'}")
        if traits["repeatable"] or traits["several"]:
            facts.append("repeatable")
        if traits["daemon_only"]:
            facts.append("not in mode `socket`")
        yield f"### `--dind-{name.replace('_', '-')}`"
        yield ""
        yield _sentence(traits["text"])
        yield ""
        yield f"{' · '.join(facts)}"

    # fixtures

    def _fixtures(self) -> dict[str, tuple[griffe.Function, str]]:
        """The public fixtures, each with its scope."""
        found = {}
        for name, member in self.package["plugin"].members.items():
            if isinstance(member, griffe.Function):
                for decorator in member.decorators:
                    text = str(decorator.value)
                    if text.startswith(_FIXTURE) and "name=" not in text:
                        scope = re.search(r"scope='(\w+)'", text)
                        found[name] = (member, scope[1] if scope else "function")
        return found

    def _fixture(self, name: str) -> Iterator[str]:
        function, scope = self._fixtures()[name]
        gives = str(function.returns)
        inner = re.fullmatch(r"Iterator\[(.*)\]", gives)
        yield f"### `{name}`"
        yield ""
        yield from self._sections(function)
        yield f"Scope: {scope} · gives: `{inner[1] if inner else gives}`"

    # markers

    def _markers(self) -> Iterator[str]:
        for name, text in options.MARKERS.items():
            parts = _MARKER.fullmatch(text)
            assert parts is not None, f"a marker's text is `(arguments): what it does`: {text}"
            yield f"### `{name}`"
            yield ""
            call = f"@pytest.mark.{name}{parts['call'] or ''}"
            yield f"`{call}`: {_sentence(parts['text'], up=False)}"
            yield ""

    # classes

    def _class(self, name: str, *only: str) -> Iterator[str]:
        exported = self.package.members.get(name)
        path = exported.target_path if isinstance(exported, griffe.Alias) else name
        cls = self.package[path.removeprefix("pytest_dind.")]
        yield from self._sections(cls, but=["parameters"])
        members = {
            key: member
            for key, member in cls.members.items()
            if (key in only if only else not key.startswith("_") or key == "__call__")
            and f"{name}.{key}" not in INTERNAL
            and member.docstring is not None
            and (member.is_function or member.is_attribute)
        }
        if set(only) - members.keys():
            raise KeyError(*(set(only) - members.keys()))
        for key, member in members.items():
            # What is called is the object itself.
            shown = "dind_factory" if key == "__call__" else key
            yield f"### `{name.rpartition('.')[2]}{'' if key == '__call__' else '.' + key}`"
            yield ""
            if isinstance(member, griffe.Function):
                yield "```python"
                yield _signature(member, shown)
                yield "```"
            else:
                yield f"Attribute: `{member.annotation}`"
            yield ""
            yield from self._sections(member)

    def _module(self, name: str) -> Iterator[str]:
        module = self.package[name]
        for key in module.exports or ():
            yield f"### `{name}.{key}`"
            yield ""
            yield "```python"
            yield _signature(module[str(key)], str(key))
            yield "```"
            yield ""
            yield from self._sections(module[str(key)])

    def _sections(self, thing: Any, but: Collection[str] = ()) -> Iterator[str]:
        """What a docstring says, section by section."""
        heads = {"parameters": "Arguments", "raises": "Raises", "attributes": "Attributes"}
        for section in thing.docstring.parsed:
            kind = section.kind.value
            if kind in but:
                continue
            if kind == "text":
                yield section.value
            elif kind == "returns":
                yield f"Returns: {' '.join(one.description for one in section.value)}"
            elif kind in heads:
                yield f"{heads[kind]}:"
                yield ""
                for one in section.value:
                    said = getattr(one, "name", "") or one.annotation
                    yield f"- `{said}`: {' '.join(one.description.split())}"
            else:
                raise Problem(
                    f"a docstring has a section that the reference has no form for: {kind}",
                    thing.path,
                    "write it as text, or give it a form in tools/reference.py",
                )
            yield ""

    # errors, hooks, the command

    def _errors(self) -> Iterator[str]:
        for name in pytest_dind.__all__:
            if _is_error(name):
                cls = self.package[f"errors.{name}"]
                yield f"### `{name}`"
                yield ""
                yield from self._sections(cls)

    def _hook(self, name: str) -> Iterator[str]:
        function = self.package[f"plugin.HookSpecs.{name}"]
        yield f"### `{name}`"
        yield ""
        yield "```python"
        yield _signature(function, name)
        yield "```"
        yield ""
        yield from self._sections(function)

    def _command(self) -> Iterator[str]:
        yield from _of_parser(__main__._parser(), "pytest-dind")


@functools.cache
def _package() -> griffe.Object:
    """The sources, read once: that takes seconds."""
    found = griffe.load(
        "pytest_dind", search_paths=[ROOT], docstring_parser="google", allow_inspection=False
    )
    assert isinstance(found, griffe.Object)
    return found


def _of_parser(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    """What argparse knows of a command and of those below it."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        texts = {one.dest: one.help or "" for one in action._choices_actions}
        for word, below in action.choices.items():
            inner = any(isinstance(one, argparse._SubParsersAction) for one in below._actions)
            if not inner:
                yield f"### `{name} {word}`"
                yield ""
                yield _sentence(below.description or texts[word])
                yield ""
                for one in below._actions:
                    if one.dest != "help":
                        yield f"- `{_argument(one)}`: {one.help}"
                yield ""
            yield from _of_parser(below, f"{name} {word}")


def _argument(action: argparse.Action) -> str:
    """An argument as usage lines have it."""
    metavar = str(action.metavar or action.dest.upper())
    if not action.option_strings:
        return f"{metavar} ..." if action.nargs == "*" else metavar
    names = ", ".join(sorted(action.option_strings, key=len, reverse=True))
    if action.choices is not None:
        metavar = "|".join(map(str, action.choices))
    return names if action.nargs == 0 else f"{names} {metavar}"


def _signature(function: griffe.Function, name: str) -> str:
    """A function's head as ruff formats it, one parameter a line where it is long."""
    gives = str(function.returns)
    if any(str(decorator.value).endswith("contextmanager") for decorator in function.decorators):
        # It is written as a generator, and is not one for who calls it.
        gives = gives.replace("Iterator[", "AbstractContextManager[", 1)
    parts: list[str] = []
    for parameter in function.parameters:
        if parameter.name == "self":
            continue
        named_only = parameter.kind is griffe.ParameterKind.keyword_only
        if named_only and not any(part.startswith("*") for part in parts):
            parts.append("*")
        parts.append(_parameter(parameter))
    line = f"def {name}({', '.join(parts)}) -> {gives}: ..."
    if len(line) <= _WIDTH:
        return line
    return f"def {name}(\n" + "".join(f"    {part},\n" for part in parts) + f") -> {gives}: ..."


def _parameter(parameter: griffe.Parameter) -> str:
    kinds = griffe.ParameterKind
    stars = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(
        parameter.kind or kinds.positional_or_keyword, ""
    )
    default = str(parameter.default).replace("'", '"')
    given = f" = {default}" if parameter.default is not None and not stars else ""
    return f"{stars}{parameter.name}: {parameter.annotation}{given}"


def _is_error(name: str) -> bool:
    value = getattr(pytest_dind, name)
    return issubclass(value, (DindError, Warning))


def _code(value: object) -> str:
    return f"`{value}`"


def _sentence(text: str, *, up: bool = True) -> str:
    """A text of `--help` as a sentence, with its options as code."""
    text = re.sub(r"(?<![`\w-])(--[a-z][\w-]+(?:=[\w-]+)?)", r"`\1`", text)
    text = text.rstrip(".") + "."
    return text[:1].upper() + text[1:] if up else text


if __name__ == "__main__":
    sys.exit(main())
