"""Folders that commands write on this machine before they are published; nothing here minds a path of its own."""

from __future__ import annotations

import logging
from pathlib import Path

from distill.errors import DataError
from distill.places.fetch import alone, fetch_folder, forget, published
from distill.places.manifest import MANIFEST, STAGED, Entry, read_manifest
from distill.places.mirror import place_of_local
from distill.places.publish import publish, refuse_others
from distill.places.remote import list_files
from distill.places.room import hold

_log = logging.getLogger(__name__)


def begin_new(folder: Path) -> None:
    """Makes ready for a command that writes a new folder, if it stands for a place of a store.

    Raises:
        DataError: Something is published there already, or files of others lie there.
    """
    if (place := place_of_local(folder)) is None:
        return
    hold(folder)
    refuse_others(place, list_files(place), replaces=False)
    forget(place)


def pull(folder: Path) -> None:
    """Makes ready for a command that goes on with a folder, if it stands for a place of a store: what is published
    there is fetched, unless a command on this machine that was interrupted went on from there. `push` must follow.

    Raises:
        DataError: The store does not answer.
    """
    if (place := place_of_local(folder)) is None:
        return
    hold(folder)
    with alone(place, "staged"):
        there = published(place)
        if there is None or _manifest(folder / STAGED) == there:
            return
        if (folder / STAGED).exists():
            _log.warning("Another command has continued %s; the part that this machine started is dropped.", place)
        fetch_folder(place)
        (folder / MANIFEST).replace(folder / STAGED)


def push(folder: Path, replaces: bool = True) -> None:
    """Publishes a folder that a command has written, if it stands for a place of a store; not what is there already.

    Raises:
        DataError: See `publish`.
    """
    if (place := place_of_local(folder)) is None:
        return
    try:
        publish(folder, place, replaces)
    except DataError as error:
        raise DataError(
            error.problem,
            where=error.where,
            expected=error.expected,
            found=error.found,
            remedy=f"What was made is whole in {folder}; `distill publish` sends a folder.",
        ) from error


def _manifest(path: Path) -> dict[str, Entry] | None:
    try:
        return read_manifest(path)
    except (OSError, ValueError):
        return None
