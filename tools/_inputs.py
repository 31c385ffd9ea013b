"""What something is made of, as a key: the same key, the same inputs."""

from __future__ import annotations

import hashlib
from pathlib import Path


def key(*inputs: Path | str) -> str:
    """Give a key for texts, files, and all files of directories, with their names and modes."""
    digest = hashlib.sha256()
    for one in inputs:
        if isinstance(one, str):
            digest.update(f"text {len(one)} {one}".encode())
            continue
        for path in sorted(one.rglob("*")) if one.is_dir() else [one]:
            if path.is_file():
                content = path.read_bytes()
                name = path.relative_to(one) if one.is_dir() else path.name
                executable = bool(path.stat().st_mode & 0o100)
                digest.update(f"file {name} {executable} {len(content)} ".encode())
                digest.update(content)
    return digest.hexdigest()[:32]
