"""URIs in a config: what they name is fetched, and the job reads and writes paths of this machine that stand for them.

A config without a URI is left as it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from distill.errors import ConfigError, DistillError
from distill.places.manifest import MANIFEST
from distill.places.mirror import local_of, named, place_of_local
from distill.places.uri import SCHEMES, Place, is_uri, local_text, place_of

_log = logging.getLogger(__name__)
_SPLITS = ("train/", "val/", "test/", "items/")


def on_this_machine(cfg: DictConfig) -> DictConfig:
    """Returns a config whose URIs are paths of this machine, with all that is read there.

    Raises:
        ConfigError: A URI cannot be read, or stands where none is taken.
        DataError: What it names is not there, the store does not answer, or there is no room.
    """
    found = {key: value for key, value in _leaves(OmegaConf.to_container(cfg, resolve=False)) if _has_uri(value)}
    if not found:
        return cfg
    own = cfg.copy()
    with read_write(own), open_dict(own):
        for key, value in found.items():
            OmegaConf.update(own, key, _local(value, key))
    return own


def source_here(source: str, key: str) -> str:
    """Returns a file, a folder or a pattern on this machine for one that may be a URI; its files are fetched."""
    return str(_local(source, key))


def runs_here(runs: str) -> Path:
    """Returns the folder on this machine that `paths.runs` stands for."""
    return local_of(place_of(runs, "paths.runs")) if _is_place(runs) else Path(local_text(runs))


def run_here(resume: str) -> Path:
    """Returns the folder on this machine of a run that goes on, with what was published of it."""
    if not _is_place(resume):
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
            "The runs of a sweep are on this machine.",
            where="paths.runs",
            expected="a path of this machine",
            found=named(str(folder)),
            remedy="Publish the runs that are worth it: distill publish FOLDER URI.",
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


def is_part(name: str) -> bool:
    """Whether a file of a dataset, by its path below it, is one of rows: it is fetched when it is read."""
    return name.endswith(".parquet") and name.startswith(_SPLITS)


def _leaves(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{where}.{key}" if where else str(key))
    else:
        yield where, node


def _has_uri(value: Any) -> bool:
    return any(is_uri(one) for one in (value if isinstance(value, list) else [value]))


def _is_place(text: str) -> bool:
    return is_uri(local_text(text))


def _local(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return [_local(one, key) for one in value]
    if not isinstance(value, str) or not _is_place(value):
        return local_text(value) if isinstance(value, str) else value
    reads = next((function for pattern, function in _KEYS.items() if fnmatchcase(key, pattern)), None)
    if reads is not None:
        return str(reads(place_of(value, key), key))
    if value.partition("://")[0].lower() in SCHEMES:
        raise ConfigError("This key takes no URI.", where=key, expected="a path of this machine", found=value)
    return value


def _here(place: Place, key: str) -> Path:
    """What the job fetches and publishes itself."""
    return local_of(place)


def _source(place: Place, key: str) -> Path:
    from distill.places.fetch import fetch_matches

    return fetch_matches(place)


def _file(place: Place, key: str) -> Path:
    from distill.places.fetch import fetch_file

    found = fetch_file(place)
    if found is None:
        raise ConfigError("There is no such file.", where=key, found=str(place), remedy="Check the URI.")
    return found


def _made(place: Place, key: str) -> Path:
    """A file, or a folder that a command of this package published."""
    from distill.places.fetch import fetch_file, fetch_folder

    return fetch_file(place) or fetch_folder(place)


def _dataset(place: Place, key: str) -> Path:
    from distill.places.fetch import fetch_folder

    return fetch_folder(place, later=is_part)


# By pattern; the first that matches a key counts.
_KEYS: dict[str, Callable[[Place, str], Path]] = {
    "data.source": _source,
    "data.source.*": _source,
    "data.adapter.source": _source,
    "data.events.*": _source,
    "data.items": _source,
    "source": _source,
    "items": _source,
    "data.schema": _file,
    "*.vectors.*.path": _file,
    "data.root": _dataset,
    "path": _made,
    "path.*": _made,
    "teacher.path": _made,
    "teacher_path": _made,
    "teacher.members": _made,
    "*init_from": _made,
    "encodings": _made,
    "base": _made,
    "out": _here,
    "paths.data": _here,
    "paths.cache": _here,
    "paths.runs": _here,
    "resume": lambda place, key: local_of(place),  # fetched where the folder of the run is named
}
