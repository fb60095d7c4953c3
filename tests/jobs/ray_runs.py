"""Commands on Ray and in one process, whose files are compared: with a Ray that starts once for all of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from distill.engines import RayEngine, RayOptions
from tests.engines.dying import kill_workers

WORKERS = [2, 1, 3]
WITH_KILLS = 2
STORE = 100 << 20
Files = dict[str, bytes]


@dataclass
class OnRay:
    """Ray on this machine.

    Attributes:
        workers: Of it.
        local: What one process wrote, by name: each is made once.
    """

    workers: int
    local: dict[str, Files]

    @property
    def arguments(self) -> list[str]:
        return ["engine=ray", f"ray.workers={self.workers}", f"ray.object_store_bytes={STORE}"]

    def check(self, name: str, folder: Path, make: Callable[..., Files], patch: pytest.MonkeyPatch) -> Files:
        """Makes files in one process, on Ray, and, of two workers, while they are killed; returns them."""
        if name not in self.local:
            self.local[name] = make(folder / "local")
        wanted = self.local[name]
        assert wanted
        assert make(folder / "on-ray", *self.arguments) == wanted
        if self.workers == WITH_KILLS:
            kill_workers(patch, folder / "killed")
            assert make(folder / "killed-ones", *self.arguments) == wanted
            assert list((folder / "killed").iterdir())
        return wanted


@contextmanager
def running(workers: int, local: dict[str, Files]) -> Iterator[OnRay]:
    """Starts Ray, which takes a while on a busy machine, for all commands in the block."""
    options = RayOptions(workers=workers, object_store_bytes=STORE)
    with RayEngine.started(options) as engine, pytest.MonkeyPatch.context() as patch:

        def started(asked: RayOptions) -> Any:
            assert asked == options
            return nullcontext(engine)

        patch.setattr(RayEngine, "started", started)
        yield OnRay(workers, local)


def files(folder: Path) -> Files:
    """The files below a folder, without hidden ones."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
