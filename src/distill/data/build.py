"""Prepares the dataset of a source once, however many jobs ask for it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from distill.data.files import hash_once, remove_leftovers, room_for
from distill.data.format import Dataset, load_dataset
from distill.data.lock import locked
from distill.data.prepare import prepare
from distill.data.prepare.pipeline import DEFAULT_MEMORY_BYTES
from distill.data.raw import DatasetSource
from distill.errors import DataError

_PREFIX = 12


def dataset_folder(source: DatasetSource, root: Path) -> Path:
    """Returns where the prepared dataset of a source is kept: `root/<name>-<fingerprint>`."""
    return root / f"{source.name}-{source.fingerprint()[:_PREFIX]}"


def build_dataset(
    source: DatasetSource, root: Path, *, memory_bytes: int = DEFAULT_MEMORY_BYTES, progress: bool = True
) -> Dataset:
    """Returns the prepared dataset of a source, preparing it if it is not there or is damaged.

    A file lock lets parallel jobs wait for the one that prepares. Raw files that the source writes are temporary.

    Args:
        source: Adapter or generator.
        root: Folder of all prepared datasets.
        memory_bytes: See `prepare`.
        progress: See `prepare`.

    Raises:
        DataError: The raw data does not hold what the source's schema says.
    """
    folder = dataset_folder(source, root)
    with locked(root / f".{folder.name}.lock"):
        if (found := _load_valid(folder)) is not None:
            return found
        remove_leftovers(folder)
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=f".{folder.name}.raw-") as raw:
            with room_for(Path(raw)):
                written = source.write_raw(Path(raw))
            return prepare(written, folder, memory_bytes=memory_bytes, progress=progress)


def _load_valid(folder: Path) -> Dataset | None:
    """Opens a dataset if all its part files have the content that its manifest says."""
    if not folder.is_dir():
        return None
    try:
        dataset = load_dataset(folder)
    except DataError:
        return None
    parts = [*(part for parts in dataset.manifest.splits.values() for part in parts), *dataset.manifest.items]
    return dataset if all(hash_once(folder / part.path) == part.blake2b for part in parts) else None
