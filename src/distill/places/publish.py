"""Publishes a folder of this machine: its files first, the manifest last. Readers take a folder without one for none.

A mark, `_publishing.json`, says that files without a manifest are those of a command of this package, which another may
replace, and which command it is.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from distill.errors import DataError
from distill.files import hash_once, is_temporary
from distill.places.fetch import files_in_words, published
from distill.places.manifest import MANIFEST, OWN, STAGED, STARTED, Entry, write_manifest
from distill.places.mirror import place_of_local
from distill.places.remote import Found, delete, download, list_files, upload
from distill.places.room import incoming
from distill.places.uri import Place
from distill.sealed import read_sealed, write_sealed

_TOGETHER = 8
_log = logging.getLogger(__name__)


def publish(folder: Path, place: Place, replaces: bool = False) -> None:
    """Publishes a folder.

    Args:
        folder: On this machine.
        place: Where to.
        replaces: Whether another folder may be published there; until this one is whole nothing is then.

    Raises:
        DataError: Something is published there already, files of others lie there, another command publishes there, or
            the store does not take it.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if _goes(path)}
    before, there = published(place) or {}, list_files(place)
    entries = {name: before[name] for name, path in paths.items() if _is_same(path, before.get(name), there.get(name))}
    if before and entries == before and paths.keys() == before.keys():
        _keep_manifest(folder, entries)
        return
    refuse_others(place, there, replaces)
    mark = uuid.uuid4().hex
    _send(place / STARTED, {"by": mark})
    if MANIFEST in there:
        delete(place / MANIFEST)
    _log.info("Publishing %s at %s.", files_in_words(len(paths) - len(entries)), place)
    with ThreadPoolExecutor(_TOGETHER) as pool:
        wanted = [name for name in paths if name not in entries]
        for name, sent in zip(wanted, pool.map(lambda n: upload(paths[n], place / n), wanted), strict=True):
            entries[name] = Entry(*sent)
    for name in there.keys() - paths.keys() - {MANIFEST, STARTED}:
        delete(place / name)
    _check(place, entries, mark)
    with incoming() as path:
        write_manifest(path, entries)
        upload(path, place / MANIFEST)
    delete(place / STARTED)
    _keep_manifest(folder, entries)
    _log.info("Published: %s", place)


def _goes(path: Path) -> bool:
    return path.is_file() and path.name not in OWN and not is_temporary(path)


def _is_same(path: Path, entry: Entry | None, there: Found | None) -> bool:
    if entry is None or there is None or there.bytes != entry.bytes or path.stat().st_size != entry.bytes:
        return False
    return hash_once(path) == entry.blake2b


def refuse_others(place: Place, there: Mapping[str, Found], replaces: bool) -> None:
    """Refuses to write over what is published, or over files that no command of this package left."""
    ours = STARTED in there or (replaces and MANIFEST in there)
    if there and not (ours and (replaces or MANIFEST not in there)):
        raise DataError(
            "The output folder already exists; nothing was overwritten.",
            where=str(place),
            found=f"{len(there):,} files, such as {min(there)}",
            remedy="Give another folder, or delete this one.",
        )


def _check(place: Place, entries: Mapping[str, Entry], mark: str) -> None:
    """Compares what the store lists with what was sent, and looks who else published meanwhile."""
    there = list_files(place)
    found = {name: size for name, (size, _) in there.items() if name not in (STARTED, MANIFEST)}
    if MANIFEST in there or _mark(place, there.get(STARTED)) != mark:
        raise DataError(
            "Another command publishes there at the same time; this one has published nothing.",
            where=str(place),
            remedy="Give each its own folder, or start again when the other has ended.",
        )
    if found != {name: entry.bytes for name, entry in entries.items()}:
        raise DataError(
            "The store does not have the files that were sent; nothing is published.",
            where=str(place),
            expected=f"{len(entries):,} files of {sum(entry.bytes for entry in entries.values()):,} bytes",
            found=f"{len(found):,} files of {sum(found.values()):,} bytes",
            remedy="Start again.",
        )


def _mark(place: Place, found: Found | None) -> str | None:
    if found is None:
        return None
    with incoming() as path:
        try:
            download(place / STARTED, path, found.bytes)
            return str(read_sealed(path).get("by"))
        except (FileNotFoundError, ValueError):
            return None


def _send(place: Place, content: Mapping[str, str]) -> None:
    with incoming() as path:
        write_sealed(path, content)
        upload(path, place)


def _keep_manifest(folder: Path, entries: Mapping[str, Entry]) -> None:
    """A folder that stands for its place is from now on one that was fetched."""
    if place_of_local(folder) is not None:
        write_manifest(folder / MANIFEST, entries)
        (folder / STAGED).unlink(missing_ok=True)
