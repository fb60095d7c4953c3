"""Embedding tables begin with vectors by raw value: ids of another product, a language model's view of a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from distill.data.format import Dataset
from distill.encodings import FittedEncodings
from distill.encodings.arrow import Int64, combine, null_mask, to_plain
from distill.encodings.lists import to_vectors
from distill.encodings.place import Place
from distill.encodings.tables import FittedIds, FittedVocabulary, TableEncoder
from distill.encodings.values import first
from distill.errors import ConfigError, DataError
from distill.features import EmbeddingTables
from distill.features.groups import is_group, set_group_rows
from distill.files import hash_once
from distill.schema import NUM_RESERVED
from distill.signals.principal import PrincipalComponents

_KEYS = ("path", "id", "vector", "frozen")


@dataclass(frozen=True)
class VectorFile:
    """Where the vectors of a table are.

    Attributes:
        path: A Parquet file.
        id: Its column of raw values, each once.
        vector: Its column of lists of numbers, all of one length; a value whose list is null has none.
        frozen: Whether rows that begin with a vector do not learn.
    """

    path: Path
    id: str = "id"
    vector: str = "vector"
    frozen: bool = False

    @classmethod
    def of(cls, node: Any, where: str) -> VectorFile:
        """Reads a config.

        Raises:
            ConfigError: It names no file, or holds something else.
        """
        fits = isinstance(node, Mapping) and isinstance(node.get("path"), str) and not set(node) - set(_KEYS)
        kinds = {"id": str, "vector": str, "frozen": bool}
        if not fits or any(name in node and not isinstance(node[name], kind) for name, kind in kinds.items()):
            raise ConfigError(
                "The start vectors of a table must be a file.",
                where=where,
                expected="{path: FILE.parquet}, and if they differ id: COLUMN, vector: COLUMN, frozen: true",
                found=str(node),
            )
        return cls(Path(node["path"]).expanduser(), *(node.get(name, getattr(cls, name)) for name in _KEYS[1:]))

    def identity(self) -> list[Any]:
        """What it does to a model: the hash of the content, and the options."""
        return [hash_once(self.path) if self.path.is_file() else None, self.id, self.vector, self.frozen]


def vector_files(node: Mapping[str, Any], where: str) -> dict[str, VectorFile]:
    """Reads the config of all tables; see `VectorFile.of`."""
    return {str(table): VectorFile.of(file, f"{where}.{table}") for table, file in node.items()}


@dataclass(frozen=True)
class _Vectors:
    """Vectors of a file.

    Attributes:
        file: The file.
        ids: Of those that the table knows `[n]`, and their places among all `[n]`.
        places: See `ids`.
        vectors: All `[M, W]`.
    """

    file: VectorFile
    ids: Tensor
    places: Tensor
    vectors: Tensor

    def rows(self, width: int, std: float, where: str) -> tuple[Tensor, str]:
        """Returns rows for the ids `[n, width]`, with mean 0 and deviation `std` over all vectors; and what was kept.

        Raises:
            ConfigError: The vectors are narrower than the table.
            DataError: There are too few, or they are all the same.
        """
        count, wide = self.vectors.shape
        if wide < width:
            raise ConfigError(
                "The start vectors are narrower than the table.",
                where=where,
                expected=f"at least {width} numbers (embedding_dim)",
                found=f"{wide} in {self.file.path}",
                remedy="Give the field an embedding_dim of that width.",
            )
        if count <= width < wide:
            raise DataError(
                "There are too few start vectors to find their principal components.",
                where=f"{where}: {self.file.path}",
                expected=f"more than {width} vectors",
                found=str(count),
            )
        reduced, kept = self.vectors, ""
        if wide > width:
            components = PrincipalComponents.fit([self.vectors], width, where)
            reduced, kept = components(self.vectors), f", {components.kept:.0%} of their variance in {width} numbers"
        centred = reduced.double() - reduced.double().mean(0)
        deviation = float(centred.square().mean().sqrt())
        if not deviation > 0.0:
            raise DataError("All start vectors are the same.", where=f"{where}: {self.file.path}")
        return (centred * (std / deviation)).float()[self.places], kept


def _read(file: VectorFile, table: str, encoder: TableEncoder) -> _Vectors:
    use = f"start vectors of table {table!r}"
    try:
        stored = pq.ParquetFile(file.path)
        names = stored.schema_arrow.names
        missing = [name for name in (file.id, file.vector) if name not in names]
        found = None if missing else stored.read([file.id, file.vector])
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            "The start vectors cannot be read as Parquet.", where=str(file.path), found=str(error).splitlines()[0]
        ) from error
    if found is None:
        raise DataError(
            "A column of the start vectors is missing.",
            where=f"{file.path}, column {missing[0]!r} ({use})",
            found=f"columns {', '.join(names)}",
            remedy="Name the columns: id and vector beside the path.",
        )

    def place(column: str) -> Place:
        return Place(column, use, lambda row: f"{file.path}, row {row}")

    ids = encoder.encode(to_plain(combine(found[file.id])), place(file.id), "error").astype(np.int64)
    _check_ids(ids, found[file.id], place(file.id))
    vectors, kept = _matrix(to_plain(combine(found[file.vector])), place(file.vector))
    ids = ids[kept]
    known = np.flatnonzero(ids >= NUM_RESERVED)
    return _Vectors(file, torch.from_numpy(ids[known]), torch.from_numpy(known), vectors)


def _check_ids(ids: Int64, column: pa.ChunkedArray, place: Place) -> None:
    if (row := first(ids == 0)) >= 0:
        raise DataError("A start vector has no id.", where=place.at(row), found="null")
    _, position = np.unique(_codes(column), return_index=True)
    if len(position) < len(column):
        row = int(np.setdiff1d(np.arange(len(column)), position)[0])
        raise DataError(
            "An id has two start vectors.", where=place.at(row), expected="each id once", found=str(column[row].as_py())
        )


def _codes(column: pa.ChunkedArray) -> npt.NDArray[np.integer]:
    codes: npt.NDArray[np.integer] = combine(column).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return codes


def _matrix(array: pa.Array, place: Place) -> tuple[Tensor, Int64]:
    """Returns the vectors that are there `[M, W]`, and their rows."""
    kept = np.flatnonzero(~null_mask(array))
    there = array.take(pa.array(kept))
    if len(there) == 0 or not pa.types.is_list(array.type) or len(there[0]) == 0:
        raise DataError(
            "This column holds no vectors.",
            where=place.at(int(kept[0]) if len(kept) else 0),
            expected="lists of numbers",
            found=str(array.type) if len(there) else "nothing but null",
        )
    width = len(there[0])
    vectors, _ = to_vectors(there, width, place.rows(kept), "error")
    return torch.from_numpy(np.array(vectors.flatten().to_numpy(zero_copy_only=False))).reshape(-1, width), kept


@torch.no_grad()
def start_vectors(model: nn.Module, dataset: Dataset, files: Mapping[str, VectorFile], where: str) -> list[str]:
    """Gives rows of a model's tables the vectors of their raw values, and freezes those that are not to learn.

    Wider vectors become their principal components, found on all vectors of the file; all are moved and stretched
    together, so that their mean is 0 and their deviation that of the table's initial rows. A value without a vector
    begins with the mean of those of its group, where the table has groups. Weights of linear parts begin at 0 as ever.

    Args:
        model: Built for the dataset.
        dataset: What it will be trained on.
        files: Table to its vectors.
        where: The key of the config that names them.

    Returns:
        What was done, in a line for each table.

    Raises:
        ConfigError: There is no such table, or none that vectors fit.
        DataError: A file does not hold vectors by raw value.
    """
    if not files:
        return []
    encoders = FittedEncodings.load(dataset.root, dataset.manifest.encodings).tables
    return [
        _start(model, table, _read(file, table, _encoder(encoders, table, f"{where}.{table}")), f"{where}.{table}")
        for table, file in files.items()
    ]


def _encoder(encoders: Mapping[str, TableEncoder], table: str, where: str) -> TableEncoder:
    fitting = [name for name, e in encoders.items() if isinstance(e, FittedVocabulary | FittedIds)]
    if table not in fitting:
        raise ConfigError(
            "No table has rows for raw values.",
            where=where,
            expected=f"a table with a vocabulary or plain ids: {', '.join(fitting)}",
            found=table,
        )
    return encoders[table]


def _tables(model: nn.Module, table: str, where: str) -> list[EmbeddingTables]:
    found = [m for m in model.modules() if isinstance(m, EmbeddingTables) and table in m.places and m.init_std > 0]
    if not found:
        raise ConfigError(
            "The model has no table that can start with vectors.",
            where=where,
            expected="a model that embeds the field",
            found=type(model).__name__,
        )
    return found


def _start(model: nn.Module, table: str, vectors: _Vectors, where: str) -> str:
    kept, grouped, size = "", 0, 0
    for tables in _tables(model, table, where):
        rows = tables.rows_of(table)
        own, kept = vectors.rows(rows.shape[1], tables.init_std, where)
        rows[vectors.ids.to(rows.device)] = own.to(rows)
        groups = dict(tables.groups.items()).get(table)
        grouped = 0 if groups is None else _from_groups(rows, groups, vectors.ids)
        size = rows.shape[0] - NUM_RESERVED - (0 if groups is None else int(is_group(groups).sum()))
        tables.started[table] = vectors.ids
        if vectors.file.frozen:
            tables.freeze(table, vectors.ids)
        tables.set_group_rows()
    others = vectors.vectors.shape[0] - len(vectors.ids)
    return (
        f"table {table} begins with the vectors of {len(vectors.ids):,} of {size:,} values from {vectors.file.path}"
        + kept
        + (f"; {grouped:,} have the mean of their group" if grouped else "")
        + (f"; {others:,} vectors are of no value that it knows" if others else "")
        + (". They do not learn." if vectors.file.frozen else ".")
    )


def _from_groups(rows: Tensor, groups: Tensor, ids: Tensor) -> int:
    """Gives members without a vector the mean of the vectors of their smallest group that has some."""
    having = torch.zeros(rows.shape[0], dtype=torch.bool, device=groups.device)
    having[ids] = True
    set_group_rows(rows, groups * having.unsqueeze(1))
    known = torch.zeros_like(having)
    known[(groups * having.unsqueeze(1)).flatten().long()] = True
    known[0] = False
    chosen = torch.zeros(rows.shape[0], dtype=torch.long, device=groups.device)
    for group in groups.long().unbind(1):
        chosen = torch.where(known[group], group, chosen)
    (missing,) = (~having & (chosen > 0)).nonzero(as_tuple=True)
    rows[missing] = rows[chosen[missing]]
    return len(missing)
