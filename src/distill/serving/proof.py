"""Golden requests: raw values and what the checkpoint said of them. A bundle that says something else is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from distill.encodings.arrow import Int64
from distill.errors import DataError
from distill.schema import Schema
from distill.serving.diversity.options import Rerank
from distill.serving.item_features import ItemFeatures
from distill.serving.items import ItemVectors
from distill.serving.manifest import GOLDEN, Manifest
from distill.serving.order_proof import first_wrong_place
from distill.serving.ranking import criterion, limits_of
from distill.serving.raw_encoder import RawEncoder
from distill.serving.scores import Float32, Scores

Float64 = npt.NDArray[np.float64]

TOLERANCE = 1e-5
_ROUNDINGS = (
    4  # two programs in float32 differ by what each is from exact scores, in either direction, and somewhat more
)
_MOST = 1e-3
_ROUNDED = {"float32": TOLERANCE, "float16": 2.0**-11, "int8": 1 / 250}  # of the largest value of a vector
REQUEST, CANDIDATES, COUNT, SCORES = "request", "candidates", "count", "scores"
RANKING_SCORE, PLACE = "ranking score", "place after re-ranking"  # with a space, as no task has one
ROUNDING = "rounding of float32"
"""How far the checkpoint's logits of a candidate are from those in double precision, as `check_golden` measures it."""


class Provable(Protocol):
    """What is proven: of a bundle, where it is, what it reads, and how it scores and encodes (see `Bundle`)."""

    @property
    def root(self) -> Path: ...

    @property
    def manifest(self) -> Manifest: ...

    @property
    def schema(self) -> Schema: ...

    @property
    def encoder(self) -> RawEncoder: ...

    def score(self, request: Mapping[str, Any], candidates: Mapping[str, Any], /) -> Scores: ...

    def score_batch(self, request: Mapping[str, Any], candidates: Mapping[str, Any], counts: Int64, /) -> Scores: ...

    def encode(
        self, request: Mapping[str, Any], candidates: Mapping[str, Any], counts: Int64, /
    ) -> dict[str, npt.NDArray[Any]]: ...

    def best(self, scores: Scores, k: int, candidates: Mapping[str, Any], /) -> Int64: ...

    def item_vectors(self, candidates: pa.Table, /) -> Float32: ...

    def encode_items(self, candidates: pa.Table, /) -> dict[str, npt.NDArray[Any]]: ...


def check_golden(bundle: Provable) -> float:
    """Replays the golden requests of a bundle through the code that serves.

    They go one by one from plain values, as a server gets them, and all together as columns.

    Returns:
        The largest difference of a logit: absolute, or of a logit beyond 1 relative to it.

    Raises:
        DataError: A difference is above 1e-5 (where the checkpoint itself loses more in float32, as golden requests may
            say: above 4 times that), re-ranking gives another order and no near tie explains it, or the golden
            requests cannot be read.
    """
    table = _read(bundle.root / GOLDEN)
    counts = table[COUNT].to_numpy()
    ends = np.cumsum(counts)
    candidates = _fields(table, CANDIDATES)
    wanted = _wanted(table, bundle)
    everything = bundle.score_batch(_fields(table, REQUEST), candidates, counts)
    allowed = golden_bounds(table)
    worst = _difference(everything.logits, wanted, allowed, bundle, "all together")
    _check_ranking(everything.ranking_score, table, bundle)
    if bundle.manifest.rerank is not None:
        _check_order(bundle, bundle.manifest.rerank, everything, table)
    requests = table[REQUEST].to_pylist() if REQUEST in table.column_names else [{}] * len(table)
    rows = table[CANDIDATES].to_pylist() if CANDIDATES in table.column_names else [[]] * len(table)
    for number, (request, own) in enumerate(zip(requests, rows, strict=True)):
        first, last = int(ends[number] - counts[number]), int(ends[number])
        columns = {name: [row[name] for row in own] for name in candidates}
        logits = bundle.score(request, columns).logits
        worst = max(worst, _difference(logits, wanted[first:last], allowed[first:last], bundle, f"request {number}"))
    return worst


def _check_ranking(found: Float32, table: pa.Table, bundle: Provable) -> None:
    """Compares the ranking score, which sums up the logits by the powers of the tasks."""
    wanted = _fields(table, SCORES)[RANKING_SCORE].to_numpy()
    bound = _score_bound(wanted, golden_bounds(table), bundle.schema)
    is_near = np.abs(found - wanted) <= bound
    if not is_near.all():
        row = int(np.argmin(is_near))
        raise DataError(
            "A bundle does not order its golden requests as the checkpoint did.",
            where=f"{bundle.root / GOLDEN}, candidate {row}",
            expected=f"ranking score {wanted[row]:.7g} within {bound[row]:.2g}",
            found=f"{found[row]:.7g}",
            remedy="Do not serve it. Export it again with this release.",
        )


def _score_bound(wanted: Float32, allowed: Float64, schema: Schema) -> Float64:
    """By how much a ranking score may differ `[N]`: logits enter it by the powers of the tasks."""
    powers = schema.score.tasks or dict.fromkeys(schema.task_names, 1.0)
    return allowed * (1 + sum(map(abs, powers.values()))) * np.maximum(1.0, np.abs(wanted.astype(np.float64)))


def _check_order(bundle: Provable, rerank: Rerank, scores: Scores, table: pa.Table) -> None:
    """Compares the order of each request's candidates after re-ranking; near ties may be broken either way."""
    found = _fields(table, SCORES)
    if PLACE not in found:
        raise DataError("Golden requests have no order after re-ranking.", where=str(bundle.root / GOLDEN))
    columns, allowed, first = _fields(table, CANDIDATES), golden_bounds(table), 0
    for number, count in enumerate(table[COUNT].to_pylist()):
        rows = np.arange(first, first + count)
        own, given = scores.take(rows), {name: values.slice(first, count) for name, values in columns.items()}
        places = found[PLACE].to_numpy()[rows]
        first += count
        wanted = np.argsort(places, kind="stable")
        if count == 0 or np.array_equal(bundle.best(own, count, given), wanted):
            continue
        limits = limits_of(rerank, bundle.encoder.columns(given, rerank.columns, count))
        bound = _score_bound(own.ranking_score, allowed[rows], bundle.schema)
        wrong = first_wrong_place(criterion(own, rerank, count), own.ranking_score, bound, wanted, rerank, limits)
        if not np.array_equal(places[wanted], np.arange(count)) or wrong is not None:
            raise DataError(
                "A bundle does not re-rank its golden requests as it did when it was exported.",
                where=f"{bundle.root / GOLDEN}, request {number}, place {wrong}",
                expected=f"order {wanted.tolist()}",
                found=f"order {bundle.best(own, count, given).tolist()}",
                remedy="Do not serve it. Export it again with this release.",
            )


def check_golden_items(bundle: Provable, items: ItemVectors | ItemFeatures) -> None:
    """Compares what is stored of the first items with what a bundle makes of their raw columns.

    Raises:
        DataError: A value of a vector differs by more than 1e-5 and more than the type of the store rounds; or an
            encoded feature does at all.
    """
    if items.golden is None:
        return
    if isinstance(items, ItemFeatures):
        _check_features(bundle, items, items.golden)
    else:
        _check_vectors(bundle, items, items.golden)


def _check_features(bundle: Provable, items: ItemFeatures, golden: pa.Table) -> None:
    stored = items.take(np.arange(len(golden)))
    for name, wanted in bundle.encode_items(golden).items():
        if not np.array_equal(stored[name], wanted):
            raise DataError(
                "The stored features of an item are not those that the bundle encodes.",
                where=f"items, {name}",
                remedy="Export the items again, with the checkpoint that the bundle was made of.",
            )


def _check_vectors(bundle: Provable, items: ItemVectors, golden: pa.Table) -> None:
    wanted = bundle.item_vectors(golden)
    stored = items.take(np.arange(len(wanted)))
    flat = tuple(range(1, wanted.ndim))
    bound = TOLERANCE + _ROUNDED[items.type] * np.abs(wanted).max(axis=flat, initial=0.0)
    difference = np.abs(stored - wanted).max(axis=flat, initial=0.0)
    if not (difference <= bound).all():
        row = int(np.argmax(difference - bound))
        raise DataError(
            "The stored vector of an item is not the one that the bundle computes.",
            where=f"item {items.keys()[row].as_py()!r}",
            expected=f"within {bound[row]:.2g}",
            found=f"a difference of {difference[row]:.2g}",
            remedy="Export the item vectors again, with the checkpoint that the bundle was made of.",
        )


def golden_requests(bundle: Provable) -> tuple[dict[str, Any], dict[str, Any], Int64]:
    """Returns the golden requests: raw columns of the requests, of all candidates, and candidates of each request."""
    return _requests(_read(bundle.root / GOLDEN))


def golden_inputs(bundle: Provable) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32], Float64]:
    """Returns the golden requests encoded, as programs take them, their logits `[N, K]`, and by how much those of a
    candidate may differ `[N]`."""
    table = _read(bundle.root / GOLDEN)
    return bundle.encode(*_requests(table)), _wanted(table, bundle), golden_bounds(table)


def _requests(table: pa.Table) -> tuple[dict[str, Any], dict[str, Any], Int64]:
    return _fields(table, REQUEST), _fields(table, CANDIDATES), table[COUNT].to_numpy()


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError("Golden requests cannot be read.", where=str(path), found=str(error)[:200]) from error


def _fields(table: pa.Table, name: str) -> dict[str, Any]:
    """Columns of the structs of a column, of lists of structs those of all structs."""
    if name not in table.column_names:
        return {}
    column = table[name].combine_chunks()
    structs = column.flatten() if pa.types.is_list(column.type) else column
    return {field.name: structs.field(position) for position, field in enumerate(structs.type)}


def _wanted(table: pa.Table, bundle: Provable) -> npt.NDArray[np.float32]:
    scores = _fields(table, SCORES)
    missing = [task for task in bundle.schema.task_names if task not in scores]
    if missing:
        raise DataError("Golden requests have no scores of a task.", where=str(bundle.root / GOLDEN), found=missing[0])
    return np.stack([scores[task].to_numpy() for task in bundle.schema.task_names], axis=1)


def golden_bounds(table: pa.Table) -> Float64:
    """Returns by how much the logits of each candidate of golden requests may differ `[N]`."""
    least = np.full(int(table[COUNT].to_numpy().sum()), TOLERANCE)
    scores = _fields(table, SCORES)
    if ROUNDING not in scores:
        return least
    rounding = scores[ROUNDING].to_numpy().astype(np.float64)
    allowed: Float64 = np.minimum(np.fmax(least, _ROUNDINGS * rounding), _MOST)
    return allowed


def relative_difference(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Difference of logits `[N, K]`: absolute, or of one beyond 1 relative to it."""
    difference: npt.NDArray[Any] = np.abs(found - wanted) / np.maximum(1.0, np.abs(wanted))
    return difference


def _difference(
    found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32], allowed: Float64, bundle: Provable, which: str
) -> float:
    if len(wanted) == 0:
        return 0.0
    difference = relative_difference(found, wanted)
    is_near = difference <= allowed[:, None]
    if not is_near.all():
        row, task = np.unravel_index(int(np.argmin(is_near)), difference.shape)
        raise DataError(
            "A bundle does not score its golden requests as the checkpoint did.",
            where=f"{bundle.root / GOLDEN}, {which}, candidate {row}, task {bundle.schema.task_names[task]}",
            expected=f"logit {wanted[row, task]:.7g} within {allowed[row]:g}",
            found=f"{found[row, task]:.7g}",
            remedy="Do not serve it. Export it again with this release, and report the model if that does not help.",
        )
    return float(difference.max())
