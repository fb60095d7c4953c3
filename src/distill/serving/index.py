"""A FAISS index of item vectors per task, for retrieval; a pre-ranker itself scores given candidates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from distill.encodings.arrow import Int64, to_plain
from distill.errors import ConfigError, DataError
from distill.sealed import read_sealed, write_sealed
from distill.serving.item_keys import KEY
from distill.serving.items import Float32, ItemVectors, check_version
from distill.serving.manifest import Below, check_files, hash_files

INDEX_FILE, KEYS = "index.json", "keys.parquet"
IndexType = Literal["flat", "ivf"]
_PROBES = 16


class IndexManifest(BaseModel):
    """What `index.json` holds.

    Attributes:
        version: Of the model that made the vectors.
        key: Raw column of the item keys.
        type: `flat` (exact) or `ivf` (cells of a k-means, a few of which are searched).
        tasks: Task to the file of its index; tasks that share one item vector share it.
        count: Items.
        files: Hash of each file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal["distill-index"] = "distill-index"
    format_version: Literal[1] = 1
    version: str
    key: str
    type: IndexType
    tasks: dict[str, Below]
    count: int
    files: dict[Below, str]


def faiss() -> Any:
    """Imports FAISS.

    Raises:
        ConfigError: It is not installed.
    """
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells which of its builds it tries
    try:
        import faiss as found
    except ImportError as error:
        raise ConfigError(
            "An index is written and searched with FAISS, which is not installed.",
            remedy="Install it: pip install faiss-cpu.",
        ) from error
    return found


def write_index(root: Path, items: ItemVectors, tasks: Sequence[str], kind: IndexType, rows: int = 1 << 16) -> None:
    """Writes an index of inner products for each task.

    Args:
        root: An empty folder.
        items: Vectors `[K or 1, D]` that are compared by dot products.
        tasks: Names of the K tasks.
        kind: `flat` or `ivf`.
        rows: Items that are added at a time.

    Raises:
        ConfigError: The vectors are not compared by dot products, or FAISS is not installed.
    """
    if len(items.shape) != 2 or items.shape[0] not in (1, len(tasks)):
        raise ConfigError("Only vectors that are compared by dot products have an index.", where="index")
    keys = items.keys()
    names = [f"{tasks[k]}.faiss" for k in range(items.shape[0])]
    for k, name in enumerate(names):
        index = _built(items, keys, k, kind, rows)
        faiss().write_index(index, str(root / name))
    pq.write_table(pa.table({KEY: keys}), root / KEYS)
    content = IndexManifest(
        version=items.version,
        key=items.key,
        type=kind,
        tasks={task: names[min(k, len(names) - 1)] for k, task in enumerate(tasks)},
        count=len(keys),
        files=hash_files(root, [*names, KEYS]),
    )
    write_sealed(root / INDEX_FILE, content.model_dump(mode="json"))


def _built(items: ItemVectors, keys: pa.Array, k: int, kind: IndexType, rows: int) -> Any:
    width = items.shape[1]
    index = faiss().IndexFlatIP(width)
    if kind == "ivf" and len(keys):
        cells = max(1, min(int(4 * np.sqrt(len(keys))), len(keys) // 39))  # FAISS wants 39 vectors for each cell
        index = faiss().IndexIVFFlat(index, width, cells, faiss().METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(0).permutation(len(keys))[: 256 * cells]
        index.train(np.ascontiguousarray(items.of(keys.take(pa.array(np.sort(sample))))[:, k]))
        index.nprobe = min(_PROBES, cells)
    for begin in range(0, len(keys), rows):
        index.add(np.ascontiguousarray(items.of(keys.slice(begin, rows))[:, k]))
    return index


@dataclass(frozen=True)
class ItemIndex:
    """Searches item vectors.

    Attributes:
        manifest: What the index says of itself.
        keys: Raw item keys, by position.
    """

    manifest: IndexManifest
    keys: pa.Array
    _indexes: dict[str, Any]

    @classmethod
    def load(cls, root: str | Path, version: str | None = None) -> ItemIndex:
        """Opens an index.

        Args:
            root: Its folder.
            version: Of the model whose request vectors are to be searched with.

        Raises:
            DataError: It is damaged or of another version.
        """
        root = Path(root)
        try:
            found = IndexManifest.model_validate(read_sealed(root / INDEX_FILE, ("format_version", 1)))
        except (OSError, ValueError, ValidationError) as error:
            raise DataError(
                "The folder holds no index.",
                where=str(root / INDEX_FILE),
                found="no file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:200],
                remedy="Export one with scripts/export.py index=flat.",
            ) from error
        if version is not None:
            check_version(found.version, version, str(root / INDEX_FILE))
        check_files(root, found.files)
        indexes = {name: faiss().read_index(str(root / name)) for name in dict.fromkeys(found.tasks.values())}
        return cls(found, to_plain(pq.read_table(root / KEYS)[KEY]), {t: indexes[n] for t, n in found.tasks.items()})

    def search(self, request: Float32, task: str, best: int) -> tuple[Float32, Int64]:
        """Finds the best items of requests by one task.

        Args:
            request: Vectors of the requests, of the task `[R, D]`.
            task: Which.
            best: How many.

        Returns:
            Dot products, and positions in `keys`; `[R, best]` each, −1 where there are no more items.

        Raises:
            DataError: There is no such task, or vectors have another width.
        """
        if task not in self._indexes:
            raise DataError("There is no such task.", where="task", expected=", ".join(self._indexes), found=task)
        index, vectors = self._indexes[task], np.ascontiguousarray(request, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != index.d:
            raise DataError(
                "Request vectors have another shape than the index.",
                where="request",
                expected=f"(requests, {index.d})",
                found=str(vectors.shape),
                remedy="Give those of the task alone: bundle.request_vectors(…)[:, k].",
            )
        scores, positions = index.search(vectors, best)
        return scores, positions
