"""Loaded by tox before all else: lets it find every Python that pyenv has, in use or not."""

import os
from pathlib import Path

_PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")

# At the end, so that `python` and `python3` stay what they are.
os.environ["PATH"] = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), *map(str, sorted(_PYENV.glob("versions/3.*/bin")))]
)
