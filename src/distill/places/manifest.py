"""The manifest of a published folder: its files, with their bytes and hashes. A folder without one is not there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from distill.files import below
from distill.sealed import read_sealed, write_sealed

MANIFEST = "_published.json"
STARTED = "_publishing.json"
STAGED = "_staged.json"
"""On this machine: what was published when a command began to go on with a folder."""
OWN = (MANIFEST, STARTED, STAGED)
_VERSION = ("format_version", 1)


class Entry(NamedTuple):
    """A file: its bytes and hash (blake2b, 32 hex digits)."""

    bytes: int
    blake2b: str


def write_manifest(path: Path, files: Mapping[str, Entry]) -> None:
    """Writes the manifest of files, by their paths from its folder."""
    write_sealed(path, {_VERSION[0]: _VERSION[1], "files": {name: list(files[name]) for name in sorted(files)}})


def read_manifest(path: Path) -> dict[str, Entry]:
    """Reads a manifest.

    Raises:
        ValueError: It is not what was written, or names files elsewhere.
        OSError: It cannot be read.
    """
    files = read_sealed(path, _VERSION).get("files")
    if not isinstance(files, dict):
        raise ValueError("no files")
    return {below(name): _entry(found) for name, found in files.items()}


def _entry(found: object) -> Entry:
    if not isinstance(found, list) or len(found) != 2 or type(found[0]) is not int or not isinstance(found[1], str):
        raise ValueError("a file without bytes and hash")
    return Entry(*found)
