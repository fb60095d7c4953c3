"""Opens files that the local cache may have let go."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

from distill.places.mirror import entry_of, place_of_local


def opened(path: Path) -> FileIO:
    """Opens a file for reading, unbuffered; one of a published folder is fetched first if it is not here.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: The store does not answer, or there is no room.
    """
    place = place_of_local(path)
    if place is None:
        return path.open("rb", buffering=0)
    from distill.places.fetch import fetch_again  # pyarrow's file systems
    from distill.places.room import used

    while True:
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            if not fetch_again(place):
                raise
        else:
            used(path)
            return file


def present(path: Path) -> Path:
    """Returns the path of a file that is here now, for libraries that open it themselves."""
    if place_of_local(path) is not None:
        opened(path).close()
    return path


def size_of(path: Path) -> int | None:
    """Returns the bytes of a file, also of one of a published folder that is not here; None if there is none."""
    if path.is_file():
        return path.stat().st_size
    entry = entry_of(path)
    return None if entry is None else entry.bytes
