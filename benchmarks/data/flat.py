"""`FlatBenchmark`: rows of the shape of the Criteo display advertising data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.data.draw import CRITEO_SIZES, Ints, clicks, effect, popularity_rank, raw_values, spread_ids
from benchmarks.data.write import generator_hash, write_tables
from distill.data.raw import RawDataset
from distill.data.split import RandomSplit
from distill.errors import ConfigError
from distill.schema import FieldSpec, Kind, Schema, Side, Task
from distill.schema.encoding import HashBuckets, IdentityIds, Log, Vocabulary

GENERATOR_VERSION = 1
CHUNK_ROWS = 1 << 17
NUM_NUMBERS = 13
_WITH_NULLS = 3
_SIGNAL_FIELDS = (0, 1, 5, 9, 13, 16, 21, 24)
_HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint16)


@dataclass(frozen=True)
class FlatBenchmark:
    """A seeded flat log: 26 categorical fields, 13 numbers and one task, `click`.

    The fields' sizes are those of Criteo scaled to `total_ids`; ids are as popular as one over their rank. Numbers are
    long-tailed counts; every third field lacks a tenth of its values. The chance of a click is a logistic function of
    effects of eight ids, of two pairs of them and of two numbers. Memory is bounded by a chunk of rows. The same
    arguments give the same values.

    Attributes:
        rows: Number of rows; a twentieth each is val and test.
        total_ids: Number of different ids of all fields together.
        seed: Of everything.
        encoding: How ids are encoded: `ids` (as they are: the tables have `total_ids` rows whatever the rows hold),
            `vocabulary` (those seen) or `hash` (as many buckets as ids).
        string_ids: Write ids as strings of eight hexadecimal digits, as Criteo does; not with `ids`.
    """

    rows: int = 200_000
    total_ids: int = 1_000_000
    seed: int = 0
    encoding: Literal["ids", "vocabulary", "hash"] = "ids"
    string_ids: bool = False

    def __post_init__(self) -> None:
        if self.rows < 1 or self.total_ids < 100 * len(CRITEO_SIZES):
            raise ConfigError(
                "The benchmark data is too small.",
                where="data.adapter",
                expected=f"rows >= 1, total_ids >= {100 * len(CRITEO_SIZES)}",
                found=f"rows={self.rows}, total_ids={self.total_ids}",
            )
        if self.encoding not in ("ids", "vocabulary", "hash") or (self.string_ids and self.encoding == "ids"):
            raise ConfigError(
                "Ids cannot be encoded so.",
                where="data.adapter.encoding",
                expected="vocabulary or hash" if self.string_ids else "ids, vocabulary or hash",
                found=self.encoding,
            )

    @property
    def name(self) -> str:
        """`benchmark_flat`."""
        return "benchmark_flat"

    def fingerprint(self) -> str:
        """Hash of the arguments and of the version of the generator."""
        return generator_hash(GENERATOR_VERSION, CHUNK_ROWS, asdict(self))

    def write_raw(self, directory: Path) -> RawDataset:
        """Writes `rows.parquet`."""
        path = directory / "rows.parquet"
        write_tables(path, self.tables())
        return RawDataset((path,), self.raw_schema(), RandomSplit(val=0.05, test=0.05))

    def sizes(self) -> tuple[int, ...]:
        """Numbers of ids of the 26 categorical fields."""
        return spread_ids(CRITEO_SIZES, self.total_ids)

    def raw_schema(self) -> Schema:
        """Names the columns; the first half of the categorical fields and the numbers are of the request."""
        fields = [
            FieldSpec(
                name=f"c{i + 1}",
                side=Side.REQUEST if i < len(CRITEO_SIZES) // 2 else Side.CANDIDATE,
                kind=Kind.ID,
                encoding=self._encoding(size),
            )
            for i, size in enumerate(self.sizes())
        ]
        fields += [
            FieldSpec(name=f"n{i + 1}", side=Side.REQUEST, kind=Kind.NUMBER, encoding=Log()) for i in range(NUM_NUMBERS)
        ]
        return Schema(name=self.name, layout="flat", fields=tuple(fields), tasks=(Task(name="click"),))

    def tables(self) -> Iterator[pa.Table]:
        """Yields the rows, a chunk at a time."""
        for chunk, start in enumerate(range(0, self.rows, CHUNK_ROWS)):
            yield self._table(min(CHUNK_ROWS, self.rows - start), np.random.default_rng((self.seed, chunk)))

    def _encoding(self, size: int) -> IdentityIds | Vocabulary | HashBuckets:
        if self.encoding == "ids":
            return IdentityIds(size=size)
        return Vocabulary() if self.encoding == "vocabulary" else HashBuckets(buckets=size)

    def _table(self, rows: int, rng: np.random.Generator) -> pa.Table:
        ids = [popularity_rank(rng.random(rows), size) for size in self.sizes()]
        numbers = [
            np.floor(np.exp(rng.standard_normal(rows, np.float32) * np.float32(1.5)) * np.float32(1 + i))
            for i in range(NUM_NUMBERS)
        ]
        logit = np.full(rows, -1.5, np.float32)
        for field in _SIGNAL_FIELDS:
            logit += 2.0 * effect(ids[field], field)
        logit += 3.0 * effect(ids[5] * 64 + ids[13], 100) + 3.0 * effect(ids[8] * 64 + ids[21], 101)
        logit += np.float32(0.3) * (np.log1p(numbers[0]) - np.log1p(numbers[1]))
        columns = {"click": pa.array(clicks(logit, rng))}
        columns |= {f"c{i + 1}": self._id_column(i, values, rng) for i, values in enumerate(ids)}
        columns |= {f"n{i + 1}": _with_nulls(i, values, rng) for i, values in enumerate(numbers)}
        return pa.table(columns)

    def _id_column(self, field: int, ids: Ints, rng: np.random.Generator) -> pa.Array:
        missing = _missing(field, ids.size, rng)
        if self.encoding == "ids":
            return pa.array(ids, mask=missing)
        values = raw_values(ids, field)
        return _hexadecimal(values, missing) if self.string_ids else pa.array(values, mask=missing)


def _missing(field: int, rows: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    return rng.random(rows, np.float32) < 0.1 if field % _WITH_NULLS == _WITH_NULLS - 1 else None


def _with_nulls(field: int, values: NDArray[np.float32], rng: np.random.Generator) -> pa.Array:
    return pa.array(values, mask=_missing(field, values.size, rng))


def _hexadecimal(values: NDArray[np.int64], missing: NDArray[np.bool_] | None) -> pa.Array:
    """Writes 32-bit integers as eight hexadecimal digits, a byte at a time."""
    digits = _HEX[values.astype(">u4").view(np.uint8)]
    offsets = pa.py_buffer(np.arange(0, 8 * values.size + 1, 8, dtype=np.int32))
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.StringArray.from_buffers(values.size, offsets, pa.py_buffer(digits), valid)
