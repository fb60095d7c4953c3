"""`RequestBenchmark`: requests with a behaviour sequence and many candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.data.draw import (
    CRITEO_SIZES,
    Floats,
    Ints,
    clicks,
    effect,
    popularity_rank,
    popularity_strata,
    spread_ids,
)
from benchmarks.data.write import generator_hash, write_tables
from distill.data.raw import RawDataset
from distill.data.split import RandomSplit
from distill.errors import ConfigError
from distill.schema import FieldSpec, Keys, Kind, Schema, Side, Task
from distill.schema.encoding import IdentityIds

GENERATOR_VERSION = 1
CHUNK_CANDIDATES = 1 << 17
REQUEST_IDS = 300_000
_FIELDS_A_SIDE = 13
_HEAD = 50.0


@dataclass(frozen=True)
class RequestBenchmark:
    """A seeded log of requests: 13 request fields, a behaviour sequence, 13 candidate fields and one task, `click`.

    All fields are ids. The first request field is the user; the first candidate field is the item, and the other twelve
    are attributes of it. The popularity of items falls as one over the rank behind a head of 50, so that they repeat
    from request to request; within a request they differ. The chance of a click is a logistic function of effects of
    ids and of how an attribute of the item fits one of the request. Every candidate has a label. Memory is bounded by a
    chunk of requests. The same arguments give the same values.

    Attributes:
        requests: Number of requests; a twentieth each is val and test.
        candidates: Candidates of each request.
        sequence_length: Items in the behaviour sequence of each request; without the field if 0.
        items: Number of different items.
        seed: Of everything.
        cross: Number fields of the pair, without any effect; the other values are the same with and without them.
        layout: `requests`, or `flat` for the same candidates with the request's fields repeated on each.
    """

    requests: int = 10_000
    candidates: int = 100
    sequence_length: int = 50
    items: int = 200_000
    seed: int = 0
    cross: int = 0
    layout: Literal["requests", "flat"] = "requests"

    def __post_init__(self) -> None:
        if self.requests < 1 or not 1 <= self.candidates <= self.items or min(self.sequence_length, self.cross) < 0:
            raise ConfigError(
                "The benchmark data cannot have these sizes.",
                where="data.adapter",
                expected="requests >= 1, 1 <= candidates <= items, sequence_length >= 0, cross >= 0",
                found=f"requests={self.requests}, candidates={self.candidates}, items={self.items}, "
                f"sequence_length={self.sequence_length}, cross={self.cross}",
            )
        if self.layout not in ("requests", "flat"):
            raise ConfigError(
                "Unknown layout.", where="data.adapter.layout", expected="requests | flat", found=self.layout
            )

    @property
    def name(self) -> str:
        """`benchmark_requests`."""
        return "benchmark_requests"

    def fingerprint(self) -> str:
        """Hash of the arguments and of the version of the generator."""
        return generator_hash(GENERATOR_VERSION, CHUNK_CANDIDATES, asdict(self))

    def write_raw(self, directory: Path) -> RawDataset:
        """Writes `requests.parquet`."""
        path = directory / "requests.parquet"
        write_tables(path, self.tables())
        return RawDataset((path,), self.raw_schema(), RandomSplit(val=0.05, test=0.05))

    @cached_property
    def request_sizes(self) -> dict[str, int]:
        """Numbers of ids of the request fields, the user first."""
        sizes = sorted(spread_ids(CRITEO_SIZES[:_FIELDS_A_SIDE], REQUEST_IDS), reverse=True)
        return {"user_id": sizes[0], **{f"r{i}": size for i, size in enumerate(sizes[1:], 1)}}

    @cached_property
    def candidate_sizes(self) -> dict[str, int]:
        """Numbers of ids of the candidate fields, the item first."""
        sizes = sorted(CRITEO_SIZES[_FIELDS_A_SIDE:], reverse=True)[1:]
        return {"item_id": self.items, **{f"a{i}": min(size, self.items) for i, size in enumerate(sizes, 1)}}

    def raw_schema(self) -> Schema:
        """Names the columns."""
        fields = [_id(name, Side.REQUEST, size) for name, size in self.request_sizes.items()]
        if self.sequence_length:
            fields.append(
                FieldSpec(
                    name="history",
                    side=Side.REQUEST,
                    kind=Kind.SEQUENCE,
                    encoding=IdentityIds(size=self.items),
                    table="item_id",
                    max_length=self.sequence_length,
                )
            )
        fields += [_id(name, Side.CANDIDATE, size) for name, size in self.candidate_sizes.items()]
        fields += [FieldSpec(name=f"x{i}", side=Side.CROSS, kind=Kind.NUMBER) for i in range(self.cross)]
        keys = Keys(request="request_id", user="user_id", item="item_id")
        return Schema(name=self.name, layout=self.layout, keys=keys, fields=tuple(fields), tasks=(Task(name="click"),))

    def tables(self) -> Iterator[pa.Table]:
        """Yields the log, a chunk of requests at a time."""
        a_chunk = max(1, CHUNK_CANDIDATES // self.candidates)
        for chunk, start in enumerate(range(0, self.requests, a_chunk)):
            requests = min(a_chunk, self.requests - start)
            yield self._table(start, requests, np.random.default_rng((self.seed, chunk)))

    def _table(self, start: int, requests: int, rng: np.random.Generator) -> pa.Table:
        of_request = {name: popularity_rank(rng.random(requests), n) for name, n in self.request_sizes.items()}
        history = popularity_rank(rng.random(requests * self.sequence_length), self.items, _HEAD)
        item = self._items(requests, rng)
        of_candidate = {
            "item_id": item,
            **{
                name: _attribute(item, i, size)
                for i, (name, size) in enumerate(self.candidate_sizes.items())
                if name != "item_id"
            },
        }
        label = clicks(self._logit(of_request, of_candidate), rng)
        columns = {"request_id": pa.array(np.arange(start, start + requests)), **_arrays(of_request)}
        if self.sequence_length:
            columns["history"] = _lists(pa.array(history), self.sequence_length)
        pairs = {**_arrays(of_candidate), "click": pa.array(label)}
        pair = np.random.default_rng((self.seed, start, 1))
        pairs |= {f"x{i}": pa.array(pair.normal(size=len(label)).astype(np.float32)) for i in range(self.cross)}
        if self.layout == "flat":
            row = pa.array(np.repeat(np.arange(requests), self.candidates))
            return pa.table({**{name: column.take(row) for name, column in columns.items()}, **pairs})
        return pa.table({**columns, **{name: _lists(column, self.candidates) for name, column in pairs.items()}})

    def _items(self, requests: int, rng: np.random.Generator) -> Ints:
        """Draws different items for every request: one of each of as many equally popular ranges, in random order."""
        cut = popularity_strata(self.items, self.candidates, _HEAD)
        offset = np.floor(rng.random((requests, self.candidates)) * np.diff(cut)).astype(np.int64)
        return rng.permuted(cut[:-1] + offset, axis=1).astype(np.int32).reshape(-1)

    def _logit(self, of_request: Mapping[str, Ints], of_candidate: Mapping[str, Ints]) -> Floats:
        logit = np.full(of_candidate["item_id"].size, -1.5, np.float32)
        for salt, name in enumerate(("item_id", "a2", "a6", "a10")):
            logit += 2.0 * effect(of_candidate[name], salt)
        for salt, name in enumerate(("user_id", "r4", "r9"), 10):
            logit += np.repeat(2.0 * effect(of_request[name], salt), self.candidates)
        fit = np.repeat(of_request["r9"], self.candidates) * 64 + of_candidate["a9"]
        logit += 4.0 * effect(fit, 20)
        return logit


def _id(name: str, side: Side, size: int) -> FieldSpec:
    return FieldSpec(name=name, side=side, kind=Kind.ID, encoding=IdentityIds(size=size))


def _attribute(item: Ints, field: int, size: int) -> Ints:
    """Returns an attribute of items: always the same one for an item."""
    uniform: NDArray[np.float64] = effect(item, 1000 + field) + np.float64(0.5)
    return popularity_rank(uniform, size)


def _arrays(columns: Mapping[str, Ints]) -> dict[str, pa.Array]:
    return {name: pa.array(values) for name, values in columns.items()}


def _lists(values: pa.Array, length: int) -> pa.ListArray:
    offsets = np.arange(0, len(values) + 1, length, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
