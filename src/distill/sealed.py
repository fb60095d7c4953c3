"""JSON files that carry the hash of their own content, so that a flipped bit is an error and never another value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.files import write_text_atomic

SEAL = "checksum"


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Writes plain data with the hash of it as its last key, whole or not at all."""
    sealed = {**content, SEAL: _hash(content)}
    write_text_atomic(path, json.dumps(sealed, indent=1) + "\n")


def read_sealed(path: Path, version: tuple[str, int] | None = None) -> dict[str, Any]:
    """Reads what `write_sealed` wrote.

    Args:
        path: The file.
        version: A key and the value that it must have, looked at before the hash; an older file may have none.

    Returns:
        The content, without the hash.

    Raises:
        OtherVersion: The key has another value.
        ValueError: The text is not JSON, or not what was written.
        OSError: The file cannot be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("brackets nested without end") from error
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} in place of a mapping")
    if version is not None and found.get(version[0]) != version[1]:
        raise OtherVersion(f"{version[0]} {str(found.get(version[0]))[:20]}")
    seal = found.pop(SEAL, None)
    if seal != _hash(found):
        raise ValueError("the content does not have the checksum that was written with it")
    return found


class OtherVersion(ValueError):
    """The file is of another version of the format."""


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
