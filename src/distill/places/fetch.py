"""Fetches files and folders of a store into the local cache, once, however many processes ask for them."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from distill.errors import DataError
from distill.files import room_for
from distill.lock import locked
from distill.places.manifest import MANIFEST, Entry, read_manifest, write_manifest
from distill.places.mirror import entry_of, local_of, local_root
from distill.places.remote import Found, download, file_at, list_files
from distill.places.room import hold, incoming, make_room, used
from distill.places.uri import Place

_TOGETHER = 8
_log = logging.getLogger(__name__)


def fetch_file(place: Place) -> Path | None:
    """Fetches a file; returns where it is, None if there is no such file.

    Raises:
        DataError: The store does not answer, or there is no room.
    """
    found = file_at(place)
    if found is None:
        return None
    path = local_of(place, "raw")
    hold(path)
    with alone(place):
        _fetch_raw(place, {place: found})
    return path


def fetch_matches(place: Place) -> Path:
    """Fetches what a source names, and forgets what is not there any more.

    Args:
        place: A file, a folder (all files below it) or a pattern.

    Returns:
        The same on this machine, the pattern included. Whether anything is there, who looks for it finds out.

    Raises:
        DataError: The store does not answer, or there is no room.
    """
    root, path = local_of(place.fixed, "raw"), local_of(place, "raw")
    found = {place: one} if place == place.fixed and (one := file_at(place)) is not None else _matches(place)
    hold(path if place in found else root)
    with alone(place.fixed):
        _fetch_raw(place, found)
        known = {local_of(one, "raw") for one in found}
        for file in [] if place in found else [file for file in root.rglob("*") if file.is_file()]:
            if file not in known and _is_match(file.relative_to(root).parts, _wildcards(place)):
                file.unlink(missing_ok=True)
    return path


def fetch_folder(place: Place, later: Callable[[str], bool] = lambda name: False) -> Path:
    """Fetches a published folder, or what changed in it since.

    Args:
        place: The folder.
        later: Which files, by their path from the folder, are fetched when `opened` wants them, and may go again.

    Raises:
        DataError: Nothing is published there, the store does not answer, or there is no room.
    """
    if (files := published(place)) is None:
        raise DataError(
            "Nothing is published there.",
            where=str(place),
            expected=f"a folder with {MANIFEST}, its last file, which a command writes when all others are there",
            remedy="Check the URI. `distill publish FOLDER URI` publishes a folder of this machine.",
        )
    folder = local_of(place)
    with alone(place):
        now = {name: entry for name, entry in files.items() if not later(name)}
        for name in now:
            hold(folder / name)
        _bring(place, folder, files, now)
    return folder


def published(place: Place) -> dict[str, Entry] | None:
    """Reads what is published at a place; None if nothing is.

    Raises:
        DataError: The store does not answer, or the manifest is damaged.
    """
    found = file_at(place / MANIFEST)
    if found is None:
        return None
    with incoming() as path:
        try:
            download(place / MANIFEST, path, found.bytes)
            return read_manifest(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DataError(
                "The manifest of a published folder is damaged.",
                where=str(place / MANIFEST),
                found=str(error).splitlines()[0],
                remedy="Publish the folder again.",
            ) from error


def fetch_again(place: Place) -> bool:
    """Fetches a file of a published folder that is on this machine without it; False if it is of none."""
    path = local_of(place)
    entry = entry_of(path)
    if entry is None:
        return False
    with alone(place):
        if not path.is_file():
            _download_all(str(place), {path: (place, Found(entry.bytes, 0), entry.blake2b)})
    return True


def _bring(place: Place, folder: Path, files: Mapping[str, Entry], now: Mapping[str, Entry]) -> None:
    """Makes a folder hold what is published: nothing else, and at least what is wanted now."""
    known = _known(folder)
    if known != files and folder.is_dir():
        kept = {folder / name for name, entry in files.items() if known.get(name) == entry}
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            if path not in kept:
                path.unlink()
    missing = {name: entry for name, entry in now.items() if not _has(folder / name, entry.bytes)}
    wanted = {folder / n: (place / n, Found(e.bytes, 0), e.blake2b) for n, e in missing.items()}
    _download_all(str(place), wanted)
    for name in now:
        used(folder / name)
    if known != files:
        if published(place) != files:
            raise _changed(place)
        folder.mkdir(parents=True, exist_ok=True)
        write_manifest(folder / MANIFEST, files)


def _known(folder: Path) -> dict[str, Entry]:
    try:
        return read_manifest(folder / MANIFEST)
    except (OSError, ValueError):
        return {}


def _has(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _fetch_raw(place: Place, found: Mapping[Place, Found]) -> None:
    """Fetches files of others, of which a store says only size and time."""
    wanted = {}
    for one, said in found.items():
        path = local_of(one, "raw")
        if _has(path, said.bytes) and path.stat().st_mtime_ns == said.changed:
            used(path)
        else:
            wanted[path] = (one, said, None)
    _download_all(str(place), wanted)


def _download_all(where: str, wanted: Mapping[Path, tuple[Place, Found, str | None]]) -> None:
    """Fetches files side by side; each appears whole, with the time that the store says.

    Raises:
        DataError: The store does not answer, a file is not what is expected, or there is no room.
    """
    if not wanted:
        return
    total = sum(found.bytes for _, found, _ in wanted.values())
    make_room(total, where)
    _log.info("Fetching %s of %s (%s bytes).", files_in_words(len(wanted)), where, f"{total:,}")
    with ThreadPoolExecutor(min(_TOGETHER, len(wanted))) as pool:
        futures = [pool.submit(_download, path, *of) for path, of in wanted.items()]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _download(path: Path, place: Place, found: Found, digest: str | None) -> None:
    with room_for(path), incoming() as beside:
        try:
            sent = download(place, beside, found.bytes)
        except FileNotFoundError as error:
            raise _changed(place) from error
        if (digest is not None and sent != digest) or (digest is None and file_at(place) != found):
            raise _changed(place)
        if found.changed:
            os.utime(beside, ns=(beside.stat().st_atime_ns, found.changed))
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.replace(path)


def _changed(place: Place) -> DataError:
    return DataError(
        "A file differs from the published one, or changed while it was fetched.",
        where=str(place),
        remedy="Start again when nobody writes there; if it stays, publish the folder again.",
    )


@contextmanager
def alone(place: Place, doing: str = "fetched") -> Iterator[None]:
    """Lets one thread of one process at a time change what is on this machine of a place."""
    name = hashlib.blake2b(str(place).encode(), digest_size=12).hexdigest()
    with locked(local_root() / ".locks" / f"{name}.{doing}.lock"):
        yield


def _matches(place: Place) -> dict[Place, Found]:
    """Returns the files of a folder, or those that a pattern matches or that lie below a folder that it matches."""
    wildcards = _wildcards(place)
    return {
        place.fixed / name: found
        for name, found in list_files(place.fixed).items()
        if _is_match(tuple(name.split("/")), wildcards)
    }


def _wildcards(place: Place) -> tuple[str, ...]:
    rest = place.key[len(place.fixed.key) :].strip("/")
    return tuple(rest.split("/")) if rest else ()


def _is_match(names: tuple[str, ...], wildcards: tuple[str, ...]) -> bool:
    """Whether a path, or a folder that it is below, matches a pattern, part by part; `**` stands for any folders."""
    if not wildcards:
        return True
    if wildcards[0] == "**":
        return any(_is_match(names[i:], wildcards[1:]) for i in range(len(names)))
    if not names or not re.match(fnmatch.translate(wildcards[0]), names[0]):
        return False
    return _is_match(names[1:], wildcards[1:])


def files_in_words(number: int) -> str:
    """Returns a number of files in words."""
    return "1 file" if number == 1 else f"{number:,} files"


def forget(place: Place) -> None:
    """Deletes what is on this machine of a folder: what a command had begun to write there."""
    shutil.rmtree(local_of(place), ignore_errors=True)
