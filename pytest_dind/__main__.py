"""The command: the doctor, and this plugin's daemons on an engine: list, look into, remove."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import settings
from .engine.engine import Engine, answering
from .errors import DindError
from .lifetime import directories
from .runs import sweep

if TYPE_CHECKING:
    from .store.contents import Cache, Removal

_PROGRAM = "pytest-dind"
_SHELL = "shell"
# Options of pytest that the command has by another name, or without their prefix.
_FLAGS = {"host": "host", "mode": "mode", "image": "image", "cache-size": "size"}
_OPTION = re.compile(r"--dind-(?P<name>[a-z]+(-[a-z]+)*)( \(or the ini key dind_\w+\))?")
_NAMES_WIDTH = 40
_DIGEST = re.compile(r"((?:^|@)sha256:[0-9a-f]{12})[0-9a-f]{52}$")
# 128 + SIGINT, as a shell counts it.
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 when it did what it was asked, 1 when it could not, 130 after a Ctrl-C; for `shell` the
        exit code of the command that was run.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    words: list[str] = []
    if given[:1] == [_SHELL] and "--" in given:
        at = given.index("--")
        given, words = given[:at], given[at + 1 :]
    options = _parser().parse_args(given)
    options.words = words
    with contextlib.closing(Engine(options.host)) as engine:
        try:
            with answering(engine):
                return int(options.call(options, engine))
        except DindError as error:
            print(_in_own_terms(str(error), options), file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return _INTERRUPTED


def _in_own_terms(text: str, options: argparse.Namespace) -> str:
    """Return an error's text with the command's own flags in place of pytest's."""

    def own(found: re.Match[str]) -> str:
        flag = _FLAGS.get(found["name"], "")
        return f"--{flag}" if flag in options else found[0]

    return _OPTION.sub(own, text)


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
    logs = commands.add_parser("logs", parents=[engine], help="print what a daemon has logged")
    logs.add_argument("name", help="as ps has it, or --dind-reuse")
    logs.add_argument("--follow", "-f", action="store_true", help="go on until the daemon ends")
    logs.add_argument(
        "--tail", "-n", type=_lines, metavar="N", help="its last N lines (default: all)"
    )
    logs.set_defaults(call=_logs)
    shell = commands.add_parser(
        _SHELL,
        parents=[engine],
        usage=f"{_PROGRAM} {_SHELL} [-h] [--host HOST] NAME [-- COMMAND ...]",
        help="run a shell, or another command, in a daemon's container; docker works in there",
        description="Run a shell, or COMMAND, in a daemon's container, with a terminal where there "
        "is one. docker works in there. The exit code is the command's.",
    )
    shell.add_argument("name", metavar="NAME", help="as ps has it, or --dind-reuse")
    shell.set_defaults(call=_shell)
    rm = commands.add_parser("rm", parents=[engine], help="remove daemons with all that is in them")
    which = rm.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "name",
        nargs="*",
        default=[],
        help="as ps has it, or --dind-reuse: the daemon of that name, and its clusters",
    )
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
    report = commands.add_parser(
        "report", help="make the page of a report's data, or the data of a page"
    )
    report.add_argument(
        "file", type=Path, help="REPORT.html.json, or REPORT.html of a run that was cut short"
    )
    report.add_argument("--output", type=Path, help="where to write it (default: beside the file)")
    # Without an engine.
    report.set_defaults(call=_make_report, host="")
    _add_conformance(
        commands.add_parser(
            "conformance", parents=[engine], help="show what works on an engine, by a small suite"
        )
    )
    return parser


def _add_conformance(conformance: argparse.ArgumentParser) -> None:
    """Add the options of `conformance`."""
    conformance.add_argument(
        "--mode",
        action="append",
        default=[],
        choices=("dind", "sysbox", "socket"),
        help="a mode to try, repeatable (default: dind, socket, and sysbox where it is)",
    )
    image = settings.Settings().image
    conformance.add_argument("--image", default=image, help=f"of the daemons (default: {image})")
    conformance.add_argument(
        "--nested",
        default="busybox",
        help="of the containers in them: a busybox or the like (default: busybox)",
    )
    form = conformance.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    form.add_argument("--markdown", action="store_true", help="print a table of Markdown")
    conformance.set_defaults(call=_conformance)


def _add_cache(cache: argparse.ArgumentParser, engine: argparse.ArgumentParser) -> None:
    """Add the commands of `cache`."""
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
    from .doctor import examine, render
    from .engine import steps

    chosen = settings.Settings(
        mode=options.mode,
        image=options.image,
        host=options.host,
        doctor=settings.DOCTOR_FULL if options.full else settings.DOCTOR_QUICK,
    )
    found = examine(chosen, steps.Plain(lambda line: print(line, file=sys.stderr)))
    text = json.dumps(found.data(), indent=2) if options.json else render(found)
    # Else it speaks of pytest's options, which a test run is to be given.
    print(_in_own_terms(text, options) if found.error else text)
    return found.exit_code


def _make_report(options: argparse.Namespace, engine: Engine) -> int:
    from .report import document, journal

    source: Path = options.file
    found = document.read(source)
    is_data = source.suffix == ".json"
    # REPORT.html.json is the data of REPORT.html; others' pages have their names too.
    page = source.with_suffix("") if source.stem.endswith(".html") else source.with_suffix(".html")
    target: Path = options.output or (page if is_data else journal.data_path(source))
    try:
        (document.write_page if is_data else document.write)(target, found)
    except OSError as error:
        raise DindError(
            f"{str(target)!r} can't be written.",
            evidence=str(error),
            remedy=["Name a file in a directory that can be written, by --output."],
        ) from error
    print(target)
    return 0


def _conformance(options: argparse.Namespace, engine: Engine) -> int:
    from .conformance import examination, table

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    modes = options.mode or examination.usual(engine)
    found = examination.examine(engine, modes, options.image, options.nested, tell)
    if options.json:
        print(json.dumps(examination.data(found), indent=2))
    else:
        print(*(table.markdown if options.markdown else table.text)(found), sep="\n")
    return int(any(one.failed for one in found))


def _ps(options: argparse.Namespace, engine: Engine) -> int:
    entries = sweep.entries(engine, directories.base())
    if options.json:
        print(json.dumps([dataclasses.asdict(entry) for entry in entries], default=str, indent=2))
    else:
        head = ("NAME", "MODE", "AGE", "OWNER", "USE")
        rows = [
            (entry.name, entry.mode, _duration(entry.age), entry.owner, _use(entry))
            for entry in entries
        ]
        _table([head, *rows])
    return 0


_CLUSTERS = {"kubernetes": "Kubernetes cluster", "swarm": "node of a swarm"}


def _use(entry: sweep.Entry) -> str:
    """Return who uses a daemon, and what it is for where it is not for tests as it is."""
    words = [entry.use, "spare" if entry.spare else "", _CLUSTERS.get(entry.cluster, "")]
    return ", ".join(filter(None, words))


def _logs(options: argparse.Namespace, engine: Engine) -> int:
    from .runs import inside

    base = directories.base()
    entries = sweep.entries(engine, base)
    left = None if _named(options.name, entries) else inside.logs_of_gone(base, options.name)
    try:
        if left is not None:
            inside.show_file(left, options.tail)
            return 0
        entry = _the_one(options.name, entries)
        if entry is None:
            return 1
        inside.show_log(engine, entry, tail=options.tail, follow=options.follow)
    except BrokenPipeError:
        # Whoever reads has enough, as `head` does. At its end Python would flush what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _shell(options: argparse.Namespace, engine: Engine) -> int:
    from .runs import inside

    entry = _the_one(options.name, sweep.entries(engine, directories.base()))
    return 1 if entry is None else inside.shell(engine, entry, options.words)


def _lines(text: str) -> int:
    """Return a number of lines.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)


def _rm(options: argparse.Namespace, engine: Engine) -> int:
    base = directories.base()
    if options.stale:
        sweep.sweep(base, engine, thorough=True)
        return 0
    entries = sweep.entries(engine, base)
    if options.all:
        chosen = [entry for entry in entries if entry.use in (sweep.KEPT, sweep.STALE)]
    else:
        chosen = []
    failed = False
    for name in options.name:
        found = _named(name, entries)
        # A daemon that is reused under a name may have a cluster beside it.
        if found and len(found) == len({one.home.name for one in found}):
            chosen += found
        else:
            _tell_of_none_or_several(name, found)
            failed = True
    # By name: one may have been given by both of its names.
    for entry in {entry.name: entry for entry in chosen}.values():
        sweep.remove(engine, entry)
        print(entry.name)
    return int(failed)


def _the_one(name: str, entries: Iterable[sweep.Entry]) -> sweep.Entry | None:
    """Return the daemon of a name; None where there is none or are several, which is told."""
    found = _named(name, entries)
    if len(found) == 1:
        return found[0]
    _tell_of_none_or_several(name, found)
    return None


def _tell_of_none_or_several(name: str, found: Sequence[sweep.Entry]) -> None:
    if found:
        names = ", ".join(one.name for one in found)
        which = f"{name!r} is several daemons; name one: {names}"
    else:
        which = f"no daemon {name!r}; '{_PROGRAM} ps' lists them"
    print(f"{_PROGRAM}: {which}", file=sys.stderr)


def _named(name: str, entries: Iterable[sweep.Entry]) -> list[sweep.Entry]:
    """Return the daemons of a name: as `ps` has it, or as this user's `--dind-reuse` does."""
    entries = list(entries)
    exact = [entry for entry in entries if entry.name == name]
    return exact or [
        entry
        for entry in entries
        if entry.use != sweep.UNKNOWN
        and entry.local
        and directories.reuse_name(entry.home.parent) == name
    ]


def _cache(options: argparse.Namespace, engine: Engine) -> Cache:
    from .store.contents import Cache

    return Cache(engine, options.image)


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
            _some(root.images),
            _some(root.daemons) or ("yes" if root.held else "no"),
        )
        for root in roots
    ]
    _table([("KEY", "SIZE", "LAST USED", "IMAGES", "IN USE"), *rows])
    print(f"{_bytes(size)} in all; layers that several have are there once")
    return 0


def _some(names: Sequence[str]) -> str:
    """Return names for a table: a few of many; `--json` has them all."""
    shown: list[str] = []
    for name in names:
        if shown and sum(map(len, shown)) + len(name) > _NAMES_WIDTH:
            return f"{', '.join(shown)}, +{len(names) - len(shown)}"
        # A name that is a digest is as good by its first digits.
        shown.append(_DIGEST.sub(r"\1", name))
    return ", ".join(shown)


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
    """Return a size in its largest unit, as docker's own tables have it."""
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
    """Return a duration in its largest unit, as docker's own tables have it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} seconds"


if __name__ == "__main__":
    sys.exit(main())
