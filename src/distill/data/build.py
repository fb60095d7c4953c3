"""Prepares the dataset of a source once, however many jobs ask for it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from distill.data.dataset import load_dataset
from distill.data.format import Dataset
from distill.data.prepare import prepare
from distill.data.prepare.known import KnownEncodings
from distill.data.prepare.pipeline import DEFAULT_MEMORY_BYTES
from distill.data.raw import DatasetSource
from distill.engines import Engine
from distill.errors import DataError, DistillError
from distill.files import hash_once, raw_sibling, remove_leftovers, room_for
from distill.in_use import use
from distill.lock import locked
from distill.places.staged import pull, push

_PREFIX = 12
_log = logging.getLogger(__name__)


def dataset_folder(source: DatasetSource, root: Path, known: KnownEncodings | None = None) -> Path:
    """Returns where the prepared dataset of a source is kept: `root/<name>-<fingerprint>`, under known encodings with
    the hash of those too."""
    name = f"{source.name}-{source.fingerprint()[:_PREFIX]}"
    return root / (name if known is None else f"{name}-{known.fingerprint()[:_PREFIX]}")


def build_dataset(
    source: DatasetSource,
    root: Path,
    *,
    known: KnownEncodings | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    progress: bool = True,
    engine: Engine | None = None,
) -> Dataset:
    """Returns the prepared dataset of a source, preparing it if it is not there or is damaged.

    A file lock lets parallel jobs wait for the one that prepares. Raw files that the source writes are temporary.

    Args:
        source: Adapter or generator.
        root: Folder of all prepared datasets.
        known: See `prepare`.
        memory_bytes: See `prepare`.
        progress: See `prepare`.
        engine: See `prepare`.

    Raises:
        DataError: The raw data does not hold what the source's schema says.
    """
    folder = dataset_folder(source, root, known)
    lock = root / f".{folder.name}.lock"
    with locked(lock):
        remove_leftovers(folder)
        pull(folder)
        if (found := _load_valid(folder)) is not None:
            use(folder, lock)
            push(folder)
            return found
        shutil.rmtree(folder, ignore_errors=True)
        with raw_sibling(folder) as raw:
            with room_for(raw):
                written = source.write_raw(raw)
            dataset = prepare(written, folder, known=known, memory_bytes=memory_bytes, progress=progress, engine=engine)
        use(folder, lock)
        push(folder)
        return dataset


def _load_valid(folder: Path) -> Dataset | None:
    """Opens a dataset if all its files have the content that its manifest says; says so if they have not."""
    if not folder.is_dir():
        return None
    try:
        dataset = load_dataset(folder)
        for part in dataset.all_parts:
            _require(folder / part.path, dataset.checksums(part).blake2b)
        for file, digest in dataset.manifest.encodings.files.items():
            _require(folder / file, digest)
    except DistillError as error:
        _log.warning("The dataset in %s is damaged or of another version; it is prepared again. %s", folder, error)
        return None
    return dataset


def _require(path: Path, digest: str) -> None:
    """Raises DataError if a file has another hash."""
    try:
        found = hash_once(path)
    except OSError as error:
        found = str(error)
    if found != digest:
        raise DataError(
            "A file has changed since it was written.", where=str(path), expected=f"blake2b {digest}", found=found
        )
