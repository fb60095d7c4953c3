"""Item vectors in an LMDB file, for a server that keeps them apart from the model."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.errors import ConfigError, DataError
from distill.serving.items import Float32, ItemVectors, check_version

STAMP = b"\0distill"
"""Key of what the file says of itself: JSON with version, key column, type and shape."""


def lmdb() -> Any:
    """Imports LMDB.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import lmdb as found
    except ImportError as error:
        raise ConfigError(
            "Key-value files are written and read with LMDB, which is not installed.",
            remedy="Install it: pip install lmdb.",
        ) from error
    return found


def key_bytes(key: int | str) -> bytes:
    """Returns the key of an item in the file: `s` and UTF-8 text, or `i` and 8 bytes, big-endian, of an integer.

    Integers from 2⁶³ on are taken by their bits, as unsigned ids are.

    Raises:
        DataError: It is neither text nor an integer of 64 bits.
    """
    if isinstance(key, str):
        return b"s" + key.encode()
    if not isinstance(key, int | np.integer) or not -(2**63) <= key < 2**64:
        raise DataError(
            "This is not a key of an item.",
            where="items",
            expected="text, or an integer of 64 bits",
            found=f"{key!r:.100}",
        )
    return b"i" + (int(key) % 2**64).to_bytes(8, "big")


def write_key_value(path: Path, items: ItemVectors, rows: int = 1 << 14) -> int:
    """Writes all vectors of a catalogue to an LMDB file, as float32; returns how many.

    Args:
        path: The file.
        items: The vectors.
        rows: In one transaction.

    Raises:
        ConfigError: LMDB is not installed.
        OSError: The disk is full, or fails.
    """
    module = lmdb()
    try:
        _write(module, path, items, rows)
    except module.Error as error:
        full = os.strerror(errno.ENOSPC) in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(path)) from error
    return len(items)


def _write(module: Any, path: Path, items: ItemVectors, rows: int) -> None:
    size = len(items) * (int(np.prod(items.shape)) * 4 + 256)
    with module.open(str(path), subdir=False, map_size=2 * size + (1 << 24), lock=False) as env:
        stamp = {"version": items.version, "key": items.key, "type": "float32", "shape": list(items.shape)}
        with env.begin(write=True) as write:
            write.put(STAMP, json.dumps(stamp).encode())
        for keys, vectors in _pieces(items, rows):
            with env.begin(write=True) as write:
                for key, vector in zip(keys.to_pylist(), vectors, strict=True):
                    write.put(_short_enough(key_bytes(key), env.max_key_size(), items.key), vector.tobytes())
        env.sync(True)


def _short_enough(key: bytes, most: int, column: str) -> bytes:
    if len(key) > most:
        raise DataError(
            "The key of an item is too long for a key-value file.",
            where=f"key_value, column {column!r}",
            expected=f"at most {most - 1} bytes",
            found=f"{len(key) - 1} bytes: {key[1:41].decode(errors='replace')!r}…",
            remedy="Leave key_value=false; the other item vectors take it.",
        )
    return key


def _pieces(items: ItemVectors, rows: int) -> Iterator[tuple[pa.Array, Float32]]:
    keys = items.keys()
    for begin in range(0, len(keys), rows):
        piece = keys.slice(begin, rows)
        yield piece, items.of(piece)


class KeyValueItems:
    """Reads the vectors of an LMDB file.

    Args:
        path: The file.
        version: Of the model that is to use them; the file's if not given.

    Raises:
        DataError: It is not a file of item vectors, or of another version.
    """

    def __init__(self, path: str | Path, version: str | None = None) -> None:
        path = Path(path)
        if not path.is_file():
            raise DataError("There is no key-value file.", where=str(path))
        module = lmdb()
        try:
            self._env = module.open(str(path), subdir=False, readonly=True, lock=False)
            _check_whole(path, self._env)
            with self._env.begin() as read:
                self._stamp = json.loads(read.get(STAMP))
            self.version, self.key = str(self._stamp["version"]), str(self._stamp["key"])
            self.shape = tuple(int(n) for n in self._stamp["shape"])
        except (module.Error, TypeError, ValueError, KeyError) as error:
            raise DataError(
                "The file holds no item vectors.", where=str(path), found=" ".join(str(error).split())[:200]
            ) from error
        if version is not None:
            check_version(self.version, version, str(path))

    def of(self, keys: Sequence[int | str] | pa.Array) -> Float32:
        """Returns the vectors of items `[N, …]`.

        Raises:
            DataError: An item has none.
        """
        keys = keys.to_pylist() if isinstance(keys, pa.Array | pa.ChunkedArray) else keys
        out = np.empty((len(keys), *self.shape), np.float32)
        with self._env.begin() as read:
            for row, key in enumerate(keys):
                found = read.get(key_bytes(key))
                if found is None:
                    raise DataError(
                        "An item has no vector.",
                        where=f"items, column {self.key!r}, row {row}",
                        found=f"{key!r:.200}",
                        remedy="Export the catalogue again.",
                    )
                out[row] = _vector(found, self.shape)
        return out

    def close(self) -> None:
        """Closes the file."""
        self._env.close()


def _check_whole(path: Path, env: Any) -> None:
    """Refuses a file that was cut off: to read beyond its end would end the process."""
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if path.stat().st_size < needed:
        raise DataError(
            "A key-value file is cut off.",
            where=str(path),
            expected=f"{needed:,} bytes",
            found=f"{path.stat().st_size:,}",
            remedy="Copy or export it again.",
        )


def _vector(content: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    size = 4 * int(np.prod(shape))
    if len(content) != size:
        raise DataError("A stored vector is damaged.", expected=f"{size} bytes", found=f"{len(content)}")
    return np.frombuffer(content, np.float32).reshape(shape)
