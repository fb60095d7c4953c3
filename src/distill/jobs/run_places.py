"""Run folders in a store: staged on this machine, published when the job ends."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from distill.errors import ConfigError, DistillError
from distill.places.manifest import MANIFEST
from distill.places.mirror import local_of, named, place_of_local
from distill.places.uri import is_uri, local_text, place_of

_log = logging.getLogger(__name__)


def runs_here(runs: str) -> Path:
    """Returns the folder on this machine that `paths.runs` stands for."""
    return local_of(place_of(runs, "paths.runs")) if is_uri(local_text(runs)) else Path(local_text(runs))


def run_here(resume: str) -> Path:
    """Returns the folder on this machine of a run that goes on, with what was published of it."""
    if not is_uri(local_text(resume)):
        return Path(local_text(resume))
    from distill.places.staged import pull

    folder = local_of(place_of(resume, "resume"))
    pull(folder)
    return folder


def fetch_last_run(runs: Path) -> None:
    """Fetches the newest published run of a folder of runs, if it stands for a place of a store."""
    place = place_of_local(runs)
    if place is None:
        return
    from distill.places.remote import list_files
    from distill.places.staged import pull

    names = {name.partition("/")[0] for name in list_files(place) if name.count("/") == 1 and name.endswith(MANIFEST)}
    if names:
        pull(runs / max(names))


@contextmanager
def run_published(folder: Path, is_sweep: bool) -> Iterator[None]:
    """Publishes the run folder when the job ends, however it ends, if it stands for a place of a store.

    Raises:
        ConfigError: It is one of a sweep.
        DataError: It cannot be published.
    """
    if place_of_local(folder) is None:
        yield
        return
    if is_sweep:
        raise ConfigError(
            "The runs of a sweep must be on this machine.",
            where="paths.runs",
            expected="a path of this machine",
            found=named(str(folder)),
            remedy="Publish the runs that you want to keep: distill publish FOLDER URI.",
        )
    from distill.places.staged import push

    try:
        yield
    except BaseException:
        if _is_first():
            _try(partial(push, folder))
        raise
    if _is_first():
        push(folder)


def _is_first() -> bool:
    """Whether this process is the only one of a job or its rank 0."""
    return os.environ.get("RANK", "0") == "0"


def _try(publishing: Callable[[], None]) -> None:
    """An error on the way out does not take the place of the first one."""
    try:
        publishing()
    except DistillError as error:
        _log.warning("%s", error)
