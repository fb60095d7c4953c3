"""The cached teachers, controls and signals of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill.jobs.program import as_typed
from distill.jobs.stored.datasets import read_manifest
from distill.jobs.stored.entry import Entry, entry_of, folders
from distill.sealed import read_sealed

_MODEL = re.compile(r"([a-z_]+)-[0-9a-f]{24}")
_MODEL_FILES = ("result.json", "*.ckpt", "non_finite_step*.pt", "lightning_logs/*")
_SIGNAL_FILES = (
    "provenance.json",
    "*.safetensors",
    *(f"{split}/{name}" for split in ("train", "val", "test") for name in ("*.parquet", "checksums.json")),
)


def caches(root: Path, data: Path) -> list[Entry]:
    """Returns the teachers, controls and signals of a folder.

    Args:
        root: The folder.
        data: Where the prepared datasets are that they may be of.
    """
    names = _dataset_names(data)
    models, teachers = [], {}
    for path in folders(root / "models"):
        lock, role = path.with_suffix(".lock"), _MODEL.fullmatch(path.name)
        if role is not None and lock.is_file():
            result = _sealed(path / "result.json")
            models.append(entry_of(role[1], path, root, lock, _trained(result, names), _MODEL_FILES))
            teachers[str(result.get("blake2b"))] = f"models/{path.name}"
    return [*models, *_signals(root, names, teachers)]


def _signals(root: Path, names: Mapping[str, str], teachers: Mapping[str, str]) -> list[Entry]:
    found = []
    for path in folders(root / "signals"):
        if not (lock := path.with_suffix(".lock")).is_file():
            continue
        made = _sealed(path / "provenance.json")
        teacher, dataset = str(made.get("teacher", "")), str(made.get("dataset", ""))
        source = f"{teachers.get(teacher, f'teacher {teacher[:12]}')} on {names.get(dataset, dataset[:12])}"
        found.append(entry_of("signals", path, root, lock, source if made else "unfinished", _SIGNAL_FILES))
    return found


def _trained(result: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Returns the dataset and the command of a model, in a line."""
    if not result:
        return "unfinished"
    dataset, command = str(result.get("dataset", "")), result.get("command")
    typed = as_typed(command) if isinstance(command, list) else "its command was not kept"
    return f"{names.get(dataset, dataset[:12])}: {typed}" if dataset else typed


def _dataset_names(data: Path) -> dict[str, str]:
    manifests = {path.name: read_manifest(path) for path in folders(data)}
    return {str(found["fingerprint"]): name for name, found in manifests.items() if found is not None}


def _sealed(path: Path) -> Mapping[str, Any]:
    try:
        return read_sealed(path)
    except (OSError, ValueError):
        return {}
