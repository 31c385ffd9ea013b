"""The command: what a machine can do, what of this plugin's is on an engine, and removing it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Sequence

from . import settings, sweep, workspace
from .cache import Cache, Removal
from .engine import Engine, answering
from .errors import DindError

_PROGRAM = "pytest-dind"
# 128 + SIGINT, as a shell counts it.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when it did what it was asked, 1 when it could not, 130 after a Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    with contextlib.closing(Engine(options.host)) as engine:
        try:
            with answering(engine):
                return int(options.call(options, engine))
        except DindError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="What a machine can do, and what pytest-dind left there."
    )
    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument(
        "--host", default="", help="the engine: a URL or a docker context's name, as --dind-host"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ps = commands.add_parser("ps", parents=[engine], help="list this plugin's containers")
    ps.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    ps.set_defaults(call=_ps)
    rm = commands.add_parser("rm", parents=[engine], help="remove daemons with all that is in them")
    which = rm.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="*", default=[], help="a container's name, as ps has it")
    which.add_argument(
        "--all", action="store_true", help="every daemon of this user that no run uses"
    )
    which.add_argument(
        "--stale", action="store_true", help="what ended runs left behind, but nothing kept"
    )
    rm.set_defaults(call=_rm)
    _add_cache(commands.add_parser("cache", help="show and empty the warm store"), engine)
    doctor = commands.add_parser(
        "doctor", parents=[engine], help="say what this machine can do, mode by mode"
    )
    for name in ("mode", "image"):
        default = getattr(settings.Settings(), name)
        text = f"as --dind-{name} has it (default: {default})"
        doctor.add_argument(f"--{name}", default=default, help=text)
    doctor.add_argument(
        "--full", action="store_true", help="start a daemon, and a container in it, in each mode"
    )
    doctor.add_argument("--json", action="store_true", help="print a JSON object instead of text")
    doctor.set_defaults(call=_doctor)
    return parser


def _add_cache(cache: argparse.ArgumentParser, engine: argparse.ArgumentParser) -> None:
    """The commands of `cache`."""
    image = argparse.ArgumentParser(add_help=False)
    image.add_argument(
        "--image", default="", help="looks into the store (default: the image that made it)"
    )
    commands = cache.add_subparsers(required=True, metavar="COMMAND")
    ls = commands.add_parser("ls", parents=[engine, image], help="list what is in the warm store")
    ls.add_argument("--json", action="store_true", help="print a JSON object instead of a table")
    ls.set_defaults(call=_cache_ls)
    rm = commands.add_parser("rm", parents=[engine, image], help="remove what no daemon uses")
    which = rm.add_mutually_exclusive_group(required=True)
    which.add_argument("key", nargs="*", default=[], help="as ls has it")
    which.add_argument("--all", action="store_true", help="all, and the volume if it is empty then")
    rm.set_defaults(call=_cache_rm)
    prune = commands.add_parser(
        "prune",
        parents=[engine, image],
        help="remove what killed runs left, and the least recently used above a size",
    )
    size = settings.Settings().cache_size
    prune.add_argument(
        "--size", default=size, help=f"as --dind-cache-size has it (default: {size})"
    )
    prune.set_defaults(call=_cache_prune)


def _doctor(options: argparse.Namespace, engine: Engine) -> int:
    from .doctor import examine

    chosen = settings.Settings(
        mode=options.mode,
        image=options.image,
        host=options.host,
        doctor=settings.DOCTOR_FULL if options.full else settings.DOCTOR_QUICK,
    )
    found = examine(chosen, lambda line: print(line, file=sys.stderr))
    print(json.dumps(found.data(), indent=2) if options.json else found)
    return found.exit_code


def _ps(options: argparse.Namespace, engine: Engine) -> int:
    entries = sweep.entries(engine, workspace.base())
    if options.json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries], default=str, indent=2))
    else:
        head = ("NAME", "MODE", "AGE", "OWNER", "USE")
        _table([head, *((e.name, e.mode, _duration(e.age), e.owner, e.use) for e in entries)])
    return 0


def _rm(options: argparse.Namespace, engine: Engine) -> int:
    base = workspace.base()
    if options.stale:
        sweep.sweep(base, engine)
        return 0
    entries = {entry.name: entry for entry in sweep.entries(engine, base)}
    names = options.name or [e.name for e in entries.values() if e.use in (sweep.KEPT, sweep.STALE)]
    failed = False
    for name in names:
        if name in entries:
            sweep.remove(engine, entries[name])
            print(name)
        else:
            print(f"{_PROGRAM}: no daemon {name!r}; '{_PROGRAM} ps' lists them", file=sys.stderr)
            failed = True
    return int(failed)


def _cache(options: argparse.Namespace, engine: Engine) -> Cache:
    return Cache(engine, options.image, lambda line: print(line, file=sys.stderr))


def _cache_ls(options: argparse.Namespace, engine: Engine) -> int:
    roots, size = _cache(options, engine).roots()
    if options.json:
        found = {"size": size, "roots": [dataclasses.asdict(root) for root in roots]}
        print(json.dumps(found, indent=2))
        return 0
    now = time.time()
    rows = [
        (
            root.key,
            _bytes(root.size),
            f"{_duration(max(0.0, now - root.used))} ago",
            ", ".join(root.images),
            ", ".join(root.daemons) or ("yes" if root.held else "no"),
        )
        for root in roots
    ]
    _table([("KEY", "SIZE", "LAST USED", "IMAGES", "IN USE"), *rows])
    print(f"{_bytes(size)} in all; layers that several have are there once")
    return 0


def _cache_rm(options: argparse.Namespace, engine: Engine) -> int:
    cache = _cache(options, engine)
    keys = options.key or [root.key for root in cache.roots()[0]]
    removal = cache.remove(keys)
    _report(removal)
    if options.all and not removal.held and not cache.discard():
        print(f"{_PROGRAM}: a container has the empty volume", file=sys.stderr)
        return 1
    return int(bool(removal.held or removal.missing))


def _cache_prune(options: argparse.Namespace, engine: Engine) -> int:
    size = settings.Settings(cache_size=options.size).cache_size
    _report(_cache(options, engine).prune(size))
    return 0


def _report(removal: Removal) -> None:
    for key in removal.gone:
        print(key)
    for key in removal.held:
        print(f"{_PROGRAM}: a daemon uses {key}; it stays", file=sys.stderr)
    for key in removal.missing:
        text = f"no {key!r} in the warm store; '{_PROGRAM} cache ls' lists what there is"
        print(f"{_PROGRAM}: {text}", file=sys.stderr)


def _bytes(size: int) -> str:
    """A size in its largest unit, as docker's own tables have it."""
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.3g} {unit}"


def _table(rows: Iterable[tuple[str, ...]]) -> None:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("   ".join(cells).rstrip())


def _duration(seconds: float) -> str:
    """A duration in its largest unit, as docker's own tables have it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} seconds"


if __name__ == "__main__":
    sys.exit(main())
