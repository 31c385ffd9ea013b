"""What is public, in docs/public.txt, a line for each thing.

python tools/public.py          write the list anew
python tools/public.py --check  say what a change takes away or adds, and fail if it does

A line that goes, or changes, breaks what somebody has built on: docs/support.md says how such a
thing goes.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import difflib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest_dind
from pytest_dind import __main__, options, plugin, settings, testing

LIST = Path(__file__).resolve().parents[1] / "docs" / "public.txt"
_CALLED = "__call__"
_YIELDED = re.compile(r"^Iterator\[(.*)\]$")
# What other modules of the plugin take of these classes, and nobody else is to.
INTERNAL = {
    "DindError.line",
    "Daemon.record",
    "Factory.close",
    "Factory.daemons",
    "Factory.records",
    "Kubernetes.close",
    "KubernetesNode.ended",
    "Node.addresses",
    "Node.state",
    "Swarm.close",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; give the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("public.py", description=__doc__, formatter_class=formatter)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    if not parser.parse_args(arguments).check:
        LIST.write_text("\n".join(listed()) + "\n")
        return 0
    told = changes()
    print("\n".join(told) or "nothing public has changed")
    return bool(told)


def changes() -> list[str]:
    """Tell what was public and is so no more, by `-`, and what is so anew, by `+`."""
    compared = difflib.ndiff(LIST.read_text().splitlines(), list(listed()))
    return [line for line in compared if line[0] in "-+"]


def listed() -> Iterator[str]:
    """Give a line for each thing that is public."""
    yield from sorted(_options())
    yield from sorted(_fixtures())
    for name, text in sorted(options.MARKERS.items()):
        yield f"marker {name}{text[: text.index(')') + 1] if text.startswith('(') else ''}"
    for name, hook in sorted(vars(plugin.HookSpecs).items()):
        if name.startswith("pytest_"):
            yield f"hook {name}{_signature(hook.__func__)}"
    yield from _commands(__main__._parser(), "pytest-dind")
    for name in pytest_dind.__all__:
        yield from _members(getattr(pytest_dind, name), f"pytest_dind.{name}")
    for name in testing.__all__:
        yield f"pytest_dind.testing.{name}{_signature(getattr(testing, name))}"


def _options() -> Iterator[str]:
    for field in dataclasses.fields(settings.Settings):
        flag = f"--dind-{field.name.replace('_', '-')}"
        traits = field.metadata
        shown: Any = field.default
        shown = ", ".join(shown) if traits["repeatable"] else shown
        values = f" of {', '.join(traits['choices'])}" if traits["choices"] else ""
        again = " (repeatable)" if traits["repeatable"] or traits["several"] else ""
        yield f"option {flag}{again}{values} = {shown}".rstrip()


def _fixtures() -> Iterator[str]:
    # Read, not imported: what a decorated function is differs between releases of pytest.
    for node in ast.walk(ast.parse(Path(inspect.getfile(plugin)).read_text())):
        for decorator in getattr(node, "decorator_list", ()):
            call = decorator if isinstance(decorator, ast.Call) else None
            is_fixture = ast.unparse(call.func if call else decorator) == "pytest.fixture"
            given = {one.arg: ast.unparse(one.value) for one in call.keywords} if call else {}
            if isinstance(node, ast.FunctionDef) and is_fixture and "name" not in given:
                returned = ast.unparse(node.returns) if node.returns else ""
                scope = ast.literal_eval(given.get("scope", "'function'"))
                value = _YIELDED.sub(r"\1", returned)
                yield f"fixture {node.name} -> {value} ({scope})"


def _commands(parser: argparse.ArgumentParser, name: str) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in sorted(action.choices.items()):
                yield from _commands(below, f"{name} {word}")
        elif action.option_strings and "--help" not in action.option_strings:
            yield f"command {name} {'/'.join(action.option_strings)}"
        elif not action.option_strings:
            yield f"command {name} {action.metavar or action.dest}"


def _members(value: Any, name: str) -> Iterator[str]:
    """Give the lines of a class: what it is derived from, and each attribute that is public."""
    bases = [one.__name__ for one in value.__bases__ if one is not object]
    yield f"{name}({', '.join(bases)})" if bases else name
    if value is settings.Settings:
        yield f"{name}.replace{_signature(value.replace)}"
        return
    inherited = {one for base in value.__bases__ for one in dir(base)}
    fields = getattr(value, "__annotations__", {})
    for member in sorted({*vars(value), *fields} - (inherited - vars(value).keys())):
        is_internal = f"{value.__name__}.{member}" in INTERNAL
        if is_internal or (member.startswith("_") and member != _CALLED):
            continue
        found = inspect.getattr_static(value, member, None)
        if inspect.isfunction(found):
            yield f"{name}.{member}{_signature(found)}"
        elif isinstance(found, property):
            yield f"{name}.{member}: {_signature(found.fget).partition(' -> ')[2]}"
        elif member in fields:
            yield f"{name}.{member}: {getattr(fields[member], '__forward_arg__', fields[member])}"


class _Text(str):
    """An annotation as it is written: a text, but shown without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _signature(function: Any) -> str:
    """Return the arguments and the result of a function, as they are written."""
    found = inspect.signature(inspect.unwrap(function))
    arguments = [
        one if one.annotation is one.empty else one.replace(annotation=_Text(one.annotation))
        for one in found.parameters.values()
    ]
    return str(
        found.replace(parameters=arguments, return_annotation=_Text(found.return_annotation))
    )


if __name__ == "__main__":
    sys.exit(main())
