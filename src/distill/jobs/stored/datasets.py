"""The prepared datasets of a folder, and what an interrupted preparation left."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.files import is_temporary
from distill.jobs.stored.entry import Entry, entry_of, folders

_MANIFEST = "manifest.json"
_PARTS = tuple(
    f"{split}/{name}" for split in ("train", "val", "test", "items") for name in ("*.parquet", "checksums.json")
)
_PATTERNS = (_MANIFEST, "schema.yaml", "encodings/*", *_PARTS)


def datasets(root: Path, runs: Path) -> list[Entry]:
    """Returns the prepared datasets of a folder, and leftovers of interrupted ones.

    Args:
        root: The folder.
        runs: Where runs are that may have read them.
    """
    users = _readers(runs)
    found = []
    for path in folders(root):
        lock = root / f".{path.name}.lock"
        if is_temporary(path):
            guard = root / f".{_guarded(path.name)}.lock"
            found.append(entry_of("leftover", path, root, guard, "a preparation that did not end", ("*",)))
            continue
        manifest = read_manifest(path)
        if manifest is not None:
            readers = tuple(users.get(str(manifest["fingerprint"]), ()))
            found.append(entry_of("dataset", path, root, lock, described(manifest), _PATTERNS, readers))
        elif lock.is_file():
            found.append(entry_of("dataset", path, root, lock, "damaged, or of another version", _PATTERNS))
    return found


def read_manifest(path: Path) -> Mapping[str, Any] | None:
    """Returns the manifest of a prepared dataset; None of a folder that is none. Its hash is left to who reads data."""
    found = _json(path / _MANIFEST)
    is_one = isinstance(found.get("fingerprint"), str) and isinstance(found.get("splits"), Mapping)
    return found if is_one and (path / "schema.yaml").is_file() else None


def described(manifest: Mapping[str, Any]) -> str:
    """Returns the raw files of a dataset in a line."""
    source = manifest.get("source")
    files = source.get("files") if isinstance(source, Mapping) else None
    names = [str(file["name"]) for file in files or () if isinstance(file, Mapping) and "name" in file]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else "unknown"


def _guarded(name: str) -> str:
    """Returns the name of the folder that a temporary one was to become."""
    return name[1:].rpartition(".writing-")[0] or name[1:].rpartition(".raw-")[0]


def _readers(runs: Path) -> dict[str, list[str]]:
    """Returns the runs below a folder by the fingerprint of their dataset."""
    found: dict[str, list[str]] = {}
    for folder, below, names in os.walk(runs):
        if _MANIFEST in names:
            below.clear()
            dataset = _json(Path(folder) / _MANIFEST).get("dataset")
            if isinstance(dataset, Mapping) and "fingerprint" in dataset:
                found.setdefault(str(dataset["fingerprint"]), []).append(folder)
        below.sort()
    return found


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}
