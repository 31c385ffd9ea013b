"""Loaded by tox before all else: where it finds Pythons, and uv, its installer, packages."""

import ast
import os
import subprocess
import sys
from pathlib import Path

_PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
# What pip is told of a closed network, by its files and by PIP_*, and uv's names for it.
_UV = {
    "cert": "SSL_CERT_FILE",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
}


def _tell_uv() -> None:
    """Have uv look for packages where pip does, and install no Python that is not there."""
    os.environ.setdefault("UV_PYTHON_DOWNLOADS", "never")
    os.environ.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # as pip does
    command = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in told.splitlines():
        name, _, value = line.partition("=")
        uv = _UV.get(name.rpartition(".")[2])
        if uv is not None:
            os.environ.setdefault(uv, " ".join(str(ast.literal_eval(value)).split()))


# At the end, so that `python` and `python3` stay what they are.
os.environ["PATH"] = os.pathsep.join(
    [
        os.environ.get("PATH", os.defpath),
        *map(str, sorted(_PYENV.glob("versions/3.*/bin"))),
        # What the environment `pythons` puts there.
        str(Path(__file__).parent / ".tox" / "interpreters" / "bin"),
    ]
)
_tell_uv()
