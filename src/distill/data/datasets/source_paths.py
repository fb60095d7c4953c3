"""What `data.source` says: files, folders and patterns, of all splits together or of each apart."""

from __future__ import annotations

from collections.abc import Mapping

from distill.data.format import SPLITS
from distill.errors import ConfigError


def source_paths(source: object, where: str) -> dict[str, tuple[str, ...]]:
    """Returns what is named, by split; all of it under `train` where the splits are not given apart.

    Args:
        source: A path, a list of paths, or a mapping of `train` and perhaps `val` and `test` to such.
        where: The key of the config.

    Raises:
        ConfigError: It is something else, names nothing, or leaves out `train`.
    """
    if not isinstance(source, Mapping):
        return {"train": _listed(source, where)}
    unknown = [str(name) for name in source if name not in SPLITS]
    if unknown or source.get("train") is None:
        raise ConfigError(
            "There is no such split." if unknown else "No files are given to train on.",
            where=where,
            expected="train, val and test; val and test may be left out and are cut from train then",
            found=", ".join(map(str, source)) or "nothing",
            remedy="To put all rows into one split, name the files alone with split@data.adapter.split=whole."
            if not unknown
            else None,
        )
    return {name: _listed(source[name], f"{where}.{name}") for name in SPLITS if source.get(name) is not None}


def _listed(paths: object, where: str) -> tuple[str, ...]:
    listed = list(paths) if isinstance(paths, (list, tuple)) else [paths]
    if not listed or not all(isinstance(path, str) and path for path in listed):
        raise ConfigError(
            "The source names no files.",
            where=where,
            expected="a file, a folder or a pattern, or a list of such",
            found=repr(paths)[:200],
        )
    return tuple(map(str, listed))
