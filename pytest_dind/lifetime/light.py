"""Light processes of a run: Python without what is installed, with this package's own modules."""

from __future__ import annotations

import sys
from pathlib import Path

# The directory that has this package is searched last, so that nothing beside the package can take
# the place of a module of the standard library.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from {module} import main; main(*sys.argv[2:])"
)
_PACKAGES = Path(__file__).parents[2]


def command(module: str, *arguments: str) -> list[str]:
    """Return the command of a process that calls `main` of a module with these arguments.

    The module and all that it imports need the standard library alone.
    """
    # -I and -S: nothing of the user's environment, and nothing installed, is looked at.
    program = _PROGRAM.format(module=module)
    return [sys.executable, "-I", "-S", "-c", program, str(_PACKAGES), *arguments]
