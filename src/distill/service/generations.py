"""The bundles of a service: the one that answers, those kept beside it, and the one that was refused."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.errors import DataError, DistillError
from distill.serving import Bundle
from distill.serving.item_features import FEATURES_FILE
from distill.serving.items import ITEMS_FILE
from distill.serving.manifest import ITEMS, MANIFEST

CURRENT = "current.json"
_MOST_BYTES = 65536  # of current.json
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generation:
    """A bundle that is loaded and proven.

    Attributes:
        name: Of its folder.
        identity: Of what its folder held.
        bundle: Is it.
    """

    name: str
    identity: str
    bundle: Bundle

    @property
    def version(self) -> str:
        """Of the model."""
        return self.bundle.version


@dataclass(frozen=True)
class Refused:
    """A bundle that was not taken.

    Attributes:
        name: That it was asked for by; None if the file that names it is wrong.
        problem: Why.
    """

    name: str | None
    problem: str


@dataclass(frozen=True)
class Watched:
    """What happened to the bundles, for metrics and tests; each is called with the generation, or the refusal."""

    swapped: Callable[[Generation, Generation | None], Any] = lambda new, old: None
    refused: Callable[[Refused], Any] = lambda refused: None


class Generations:
    """Loads bundles below one folder, and no others. `current` is replaced by one assignment.

    Args:
        root: The folder.
        fixed: Name of the only bundle; None reads it from `current.json`.
        keep: How many stay loaded.
        watched: Is told what happens.
    """

    def __init__(self, root: Path, fixed: str | None, keep: int, watched: Watched | None = None) -> None:
        self.current: Generation | None = None
        self.refused: Refused | None = None
        self._root, self._fixed, self._most = root.resolve(), fixed, keep
        self._watched = watched or Watched()
        self._kept: tuple[Generation, ...] = ()
        self._seen: tuple[int, int, int] | None = None
        self._lock = threading.Lock()

    @property
    def kept(self) -> tuple[Generation, ...]:
        """What is loaded, the newest first."""
        return self._kept

    @property
    def is_fixed(self) -> bool:
        """Whether there is one bundle, which is not watched."""
        return self._fixed is not None

    def of_version(self, version: str) -> Generation | None:
        """Returns the loaded bundle of a version, the newest of several."""
        return next((found for found in self._kept if found.version == version), None)

    def load_fixed(self) -> None:
        """Loads the only bundle.

        Raises:
            DataError: It is refused.
        """
        assert self._fixed is not None
        self._swap(self._load(self._fixed))

    def refresh(self) -> None:
        """Looks at `current.json`, and swaps to the bundle that it names if that is another one. Never raises."""
        if self._fixed is not None:
            return
        with self._lock:
            try:
                stat = (self._root / CURRENT).stat()
            except OSError:
                return
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                self._take_named()
                self._seen = seen

    def _take_named(self) -> None:
        name: str | None = None
        try:
            name = self._named()
            self._swap(self._load(name))
        except Exception as error:  # a bundle must not end the service, whatever is wrong with it
            problem = str(error) if isinstance(error, DistillError) else f"{type(error).__name__}: {error}"
            self.refused = Refused(name, problem.replace(str(self._root), "."))
            _log.error("Refused bundle %r; %s goes on. %s", name, self._serves(), problem)
            self._watched.refused(self.refused)

    def _serves(self) -> str:
        return "nothing" if self.current is None else f"{self.current.name} (version {self.current.version[:12]})"

    def _named(self) -> str:
        path = self._root / CURRENT
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
        try:
            found = json.loads(content)
            name = found["bundle"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _no_name(path) from error
        if type(name) is not str or not name:
            raise _no_name(path)
        return name

    def _load(self, name: str) -> Generation:
        folder = self._below(name)
        identity = _identity(folder)
        for known in self._kept:
            if (known.name, known.identity) == (name, identity):
                return known
        return Generation(name, identity, Bundle.load(folder))

    def _below(self, name: str) -> Path:
        """Returns a folder below the root, no file of which lies elsewhere."""
        outside = DataError(
            "The bundle lies outside of the folder of bundles.",
            where=CURRENT if self._fixed is None else "--bundle",
            expected="a name below it, and no links to elsewhere",
            found=name[:200],
        )
        if "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise outside
        folder = self._root / name
        for path in (folder, *folder.rglob("*")):
            if not path.resolve().is_relative_to(self._root):
                raise outside
        return folder

    def _swap(self, new: Generation) -> None:
        old = self.current
        self.current = new  # requests that run keep the bundle that they began with
        self._kept = (new, *(found for found in self._kept if found is not new))[: self._most]
        self.refused = None
        if new is not old:
            _log.info("Serves %s, version %s.", new.name, new.version)
            self._watched.swapped(new, old)


def _no_name(path: Path) -> DataError:
    return DataError(
        "The file does not name a bundle.",
        where=str(path),
        expected='{"bundle": "NAME"}',
        remedy="Write a new file and rename it.",
    )


def _identity(folder: Path) -> str:
    """Hashes the descriptions of a bundle and its items, which hold the hashes of all other files."""
    digest = hashlib.blake2b(digest_size=16)
    for path in (folder / MANIFEST, folder / ITEMS / ITEMS_FILE, folder / ITEMS / FEATURES_FILE):
        digest.update(path.read_bytes() if path.is_file() else b"-")
    return digest.hexdigest()
