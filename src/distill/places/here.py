"""Folders that a caller names by a path or by a URI."""

from __future__ import annotations

from pathlib import Path

from distill.places.uri import is_uri, local_text, place_of


def folder_here(given: str | Path, where: str) -> Path:
    """Returns a folder of this machine: the path itself, or what was fetched of a published folder.

    Args:
        given: A path, or a URI as text.
        where: The argument, for errors.

    Raises:
        ConfigError: The URI cannot be read.
        DataError: Nothing is published there, the store does not answer, or there is no room.
    """
    text = local_text(given) if isinstance(given, str) else ""
    if not is_uri(text):
        return Path(text or given)
    from distill.places.fetch import fetch_folder  # pyarrow's file systems

    return fetch_folder(place_of(text, where))
