"""A store in a folder, that fails when it is told to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from distill.places import remote, retry

FAST = retry.Retries(attempts=3, first_pause=0.0)


class Store:
    """A file system of pyarrow's in a folder; `failures` says how often each operation fails yet."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        self.root = root
        self.failures: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.most_read: int | None = None  # bytes that an open file gives before the connection drops
        self.error = "AWS Error NETWORK_CONNECTION during GetObject operation: dropped"
        self._system = pafs.SubTreeFileSystem(str(root), pafs.LocalFileSystem())

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.calls[name] += 1
            if self.failures[name] > 0:
                self.failures[name] -= 1
                raise OSError(self.error)
            if name == "open_output_stream":
                (self.root / arguments[0]).parent.mkdir(parents=True, exist_ok=True)
            found = getattr(self._system, name)(*arguments)
            return _Dropping(found, self) if name == "open_input_file" and self.most_read is not None else found

        return call

    def write(self, name: str, data: bytes = b"data") -> None:
        """Puts an object there."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def names(self, folder: str) -> list[str]:
        """Returns the objects below a folder."""
        root = self.root / folder
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


class _Dropping:
    """An open file whose connection drops after some bytes."""

    def __init__(self, file: Any, store: Store) -> None:
        assert store.most_read is not None
        self.file, self.left, self.error = file, store.most_read, store.error

    def __enter__(self) -> _Dropping:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def seek(self, position: int) -> None:
        self.file.seek(position)

    def read(self, size: int) -> bytes:
        if self.left <= 0:
            raise OSError(self.error)
        found: bytes = self.file.read(min(size, self.left))
        self.left -= len(found)
        return found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that every URI leads to, and a local cache of its own."""
    found = Store(tmp_path / "store")
    monkeypatch.setattr(remote, "file_system", lambda place: found)
    monkeypatch.setattr(retry, "RETRIES", FAST)
    monkeypatch.setenv("DISTILL_LOCAL", str(tmp_path / "local"))
    return found
