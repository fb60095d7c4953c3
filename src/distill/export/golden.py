"""Golden requests: raw values of every kind that an encoding can meet, and what the model says of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn

from distill.batch import Batch
from distill.data.unlabelled.features import block_of
from distill.encodings import FittedEncodings
from distill.encodings.arrow import Int64, from_lengths, map_values
from distill.encodings.numbers import FittedNumber
from distill.encodings.tables import FittedHash, FittedIds, FittedQuantiles, FittedVocabulary
from distill.encodings.text import DECLARED
from distill.encodings.values import LARGEST, Float64
from distill.export.golden_made import MadeColumns
from distill.models.cost import random_batch
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import FieldSpec, Kind, Schema, Side
from distill.serving.columns import RequestColumns, encode_fields
from distill.serving.proof import (
    CANDIDATES,
    COUNT,
    PLACE,
    RANKING_SCORE,
    REQUEST,
    ROUNDING,
    SCORES,
    relative_difference,
)

_REQUESTS, _MOST_CANDIDATES, _LONGEST = 32, 20, 24
_CATEGORIES = 4
_EXACT = 2**50  # whole numbers that floating-point ones hold, with room
_BETWEEN_WORDS = (" ", ", ", "\u3000", " É ")
_RARE = 0.1  # share of values that are null, and of those that no vocabulary knows

Draw = Callable[[int], list[Any]]
Columns = dict[str, pa.Array]


@dataclass(frozen=True)
class RawRequests:
    """Requests of raw values.

    Attributes:
        request: Raw column to the values of R requests.
        candidate: Raw column to the values of N candidates: of their fields, of the pair, of the ranking score.
        counts: Candidates of each request `[R]`.
        delimiters: Column that a log holds as text to what stands between the values.
    """

    request: Columns
    candidate: Columns
    counts: Int64
    delimiters: Mapping[str, str] = field(default_factory=dict)

    def with_scores(
        self,
        logits: Mapping[str, Any],
        ranking: Any,
        places: Int64 | None = None,
        rounding: npt.NDArray[np.float32] | None = None,
    ) -> pa.Table:
        """Returns them as `golden.parquet` holds them: a row per request.

        Args:
            logits: Task to `[N]`.
            ranking: The ranking score `[N]`.
            places: Place of each candidate after re-ranking its request `[N]`, from 0 on; None without re-ranking.
            rounding: What float32 loses of each candidate `[N]` (see `lost_digits`); None if it does not matter.
        """
        columns: dict[str, pa.Array] = {COUNT: pa.array(self.counts)}
        if self.request:
            columns[REQUEST] = _struct(self._logged(self.request))
        offsets = pa.array(np.append(0, np.cumsum(self.counts)).astype(np.int32))
        if self.candidate:
            columns[CANDIDATES] = pa.ListArray.from_arrays(offsets, _struct(self._logged(self.candidate)))
        scores = {**{name: pa.array(values) for name, values in logits.items()}, RANKING_SCORE: pa.array(ranking)}
        if places is not None:
            scores[PLACE] = pa.array(places)
        if rounding is not None:
            scores[ROUNDING] = pa.array(rounding)
        columns[SCORES] = pa.ListArray.from_arrays(offsets, _struct(scores))
        return pa.table(columns)

    def _logged(self, columns: Columns) -> Columns:
        """Returns columns as a log holds them: lists as text where the schema says so."""
        return {n: _joined(a, self.delimiters[n]) if n in self.delimiters else a for n, a in columns.items()}


def _joined(lists: pa.Array, delimiter: str) -> pa.Array:
    text = [
        None if values is None else delimiter.join("" if value is None else str(value) for value in values)
        for values in lists.to_pylist()
    ]
    return pa.array(text, pa.string())


def draw_requests(
    schema: Schema, fitted: FittedEncodings, seed: int = 0, categories: Sequence[str] = ()
) -> RawRequests:
    """Draws requests from what the encodings know: known values, unknown ones, nulls, boundaries, empty lists.

    Args:
        schema: The model's view of the schema.
        fitted: Its encodings.
        seed: Of the draws.
        categories: Raw columns of candidates that quotas read.
    """
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, _MOST_CANDIDATES + 1, _REQUESTS)
    counts[:2] = (0, 1)
    n = int(counts.sum())
    types, delimiters = schema.value_reading.columns, schema.value_reading.delimiters or {}
    request = _columns(schema.side(Side.REQUEST), fitted, types, _REQUESTS, rng)
    pairs = (*schema.side(Side.CANDIDATE), *schema.side(Side.CROSS))
    candidate = _columns(pairs, fitted, types, n, rng)
    MadeColumns(fitted, request, candidate, (_REQUESTS, n), rng).add(schema.fields, types)
    for name in schema.score.columns:
        drawn = candidate.get(name, _as_declared(pa.array(rng.uniform(0.1, 10.0, n)), types.get(name)))
        candidate[name] = _positive(drawn)
    for name in categories:
        if name not in candidate:
            candidate[name] = _categories(n, types.get(name), rng)
    for name, delimiter in delimiters.items():
        for columns in (side for side in (request, candidate) if name in side):
            columns[name] = map_values(columns[name], partial(_without, delimiter=delimiter))
    return RawRequests(request, candidate, counts, delimiters)


@torch.no_grad()
def score_requests(model: nn.Module, schema: Schema, fitted: FittedEncodings, raw: RawRequests) -> torch.Tensor:
    """Returns the logits of a model for raw requests `[N, K]`."""
    logits: torch.Tensor = model(_batch(schema, fitted, raw)).logits.float()
    return logits


@torch.no_grad()
def lost_digits(model: nn.Module, schema: Schema, fitted: FittedEncodings, raw: RawRequests) -> npt.NDArray[np.float32]:
    """Returns how far the logits of each candidate of raw requests are from those that the model has in double
    precision, of the task where they are farthest `[N]`: absolute, or of a logit beyond 1 relative to it."""
    batch = _batch(schema, fitted, raw)
    exact = copy.deepcopy(model).double()(batch.map(lambda t: t.double() if t.is_floating_point() else t)).logits
    difference = relative_difference(model(batch).logits.double().numpy(), exact.numpy())
    lost: npt.NDArray[np.float32] = difference.max(axis=1, initial=0.0).astype(np.float32)
    return lost


@torch.no_grad()
def candidate_vectors(model: nn.Module, schema: Schema, fitted: FittedEncodings, raw: RawRequests) -> torch.Tensor:
    """Returns the vectors of the candidates of raw requests `[N, …]`, of a model that has them."""
    assert isinstance(model, SplitPreRanker)
    return model.encode_candidate(_batch(schema, fitted, raw).candidate).float()


def _batch(schema: Schema, fitted: FittedEncodings, raw: RawRequests) -> Batch:
    n = int(raw.counts.sum())
    sides: dict[str, Any] = {}
    of_requests = RequestColumns(raw.request, np.repeat(np.arange(len(raw.counts)), raw.counts))
    for side in Side:
        columns, rows = (raw.request, len(raw.counts)) if side is Side.REQUEST else (raw.candidate, n)
        others = of_requests if side is Side.CROSS else None
        sides[side.value] = block_of(encode_fields(schema.side(side), fitted, columns, rows, side.value, others))
    return replace(random_batch(schema, raw.counts.tolist()), **sides)


def _without(values: pa.Array, delimiter: str) -> pa.Array:
    """Takes out of text what stands between values."""
    return pc.replace_substring(values, delimiter, "") if pa.types.is_string(values.type) else values


def _struct(columns: Columns) -> pa.StructArray:
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def _columns(
    fields: Sequence[FieldSpec], fitted: FittedEncodings, types: Mapping[str, str], rows: int, rng: np.random.Generator
) -> Columns:
    by_column: dict[str, list[FieldSpec]] = {}
    for spec in (f for f in fields if f.made is None):
        by_column.setdefault(spec.column, []).append(spec)
    return {name: _column(specs, fitted, types.get(name), rows, rng) for name, specs in by_column.items()}


def _column(
    specs: Sequence[FieldSpec], fitted: FittedEncodings, declared: str | None, rows: int, rng: np.random.Generator
) -> pa.Array:
    """Values of a column that all fields which read it can take: ids are also numbers, but not the other way round."""
    nan = all(spec.nan == "missing" for spec in specs)
    spec = min(specs, key=lambda s: _Values(s, fitted, nan, declared, rng).rank)
    values = _Values(spec, fitted, nan, declared, rng)
    width = next((s.width for s in specs if s.has_vectors), None)
    if width is not None and spec.kind is not Kind.VECTORS:
        return _vectors(values, rows, width, rng)
    if width is not None:
        lengths = _lengths(spec, rows, rng)
        vectors = _vectors(values, int(lengths.sum()), width, rng)
        return from_lengths(vectors, lengths, rng.random(rows) < _RARE * (lengths == 0))
    if spec.kind is Kind.TEXT:
        return _texts(values, rows, rng)
    if spec.kind is Kind.SEQUENCE:
        lengths = _lengths(spec, rows, rng)
        flat = iter(values.draw(int(lengths.sum())).to_pylist())
        lists: list[Any] = [[next(flat) for _ in range(length)] for length in lengths]
        return pa.array([None if rng.random() < _RARE else row for row in lists], pa.list_(values.type))
    return values.draw(rows)


def _lengths(spec: FieldSpec, rows: int, rng: np.random.Generator) -> Int64:
    """Lengths of sequences: some are empty, some longer than what is kept."""
    return rng.integers(0, min(spec.max_length or _LONGEST, _LONGEST) + 3, rows)


def _vectors(values: _Values, rows: int, width: int, rng: np.random.Generator) -> pa.Array:
    flat = iter(values.draw(rows * width, nulls=False).to_pylist())
    vectors: list[Any] = [[next(flat) for _ in range(width)] for _ in range(rows)]
    return pa.array([None if rng.random() < _RARE else row for row in vectors], pa.list_(values.type))


def _texts(values: _Values, rows: int, rng: np.random.Generator) -> pa.Array:
    """Text of known tokens and others, also in capitals and with marks; some of it is null, or empty."""
    lengths = rng.integers(0, _LONGEST, rows)
    flat = iter(values.draw(int(lengths.sum()), nulls=False).to_pylist())
    texts = [rng.choice(_BETWEEN_WORDS).join(next(flat) for _ in range(length)) for length in lengths]
    shown = [text.upper() if rng.random() < _RARE else text for text in texts]
    return pa.array([None if rng.random() < _RARE else text for text in shown], pa.string())


def _positive(drawn: pa.Array) -> pa.Array:
    """Numbers above 0, of the same type."""
    if pa.types.is_boolean(drawn.type):
        return pa.array([True] * len(drawn))
    numbers = [1 if value is None or not abs(value) > 0 else abs(value) for value in drawn.to_pylist()]
    return pa.array(numbers, drawn.type)


def _categories(rows: int, declared: str | None, rng: np.random.Generator) -> pa.Array:
    """A few categories and nulls, as a column has them that no field reads."""
    kind = DECLARED.get(declared or "text", pa.string())
    codes = [None if rng.random() < _RARE else int(code) for code in rng.integers(0, _CATEGORIES, rows)]
    if kind == pa.bool_():
        return pa.array([None if code is None else code > 0 for code in codes], kind)
    return pa.array(codes, pa.int64()).cast(kind)


def _as_declared(drawn: pa.Array, declared: str | None) -> pa.Array:
    """Values as a column has them that the schema declares to be of a type."""
    values = drawn.to_pylist()
    if declared == "boolean":
        return pa.array([None if value is None else value > 0 for value in values], pa.bool_())
    if declared == "integer" and pa.types.is_floating(drawn.type):
        whole = [
            None if value is None or value != value else round(max(-_EXACT, min(value, _EXACT))) for value in values
        ]
        return pa.array(whole, pa.int64())
    if declared == "number" and pa.types.is_integer(drawn.type):
        return pa.array([None if value is None else float(value % _EXACT) for value in values], pa.float64())
    return drawn


class _Values:
    """Raw values of a field.

    Args:
        spec: The field.
        fitted: Its encodings.
        nan: Whether numbers may be NaN.
        declared: Type of the column that the schema declares.
        rng: Of the draws.
    """

    def __init__(
        self, spec: FieldSpec, fitted: FittedEncodings, nan: bool, declared: str | None, rng: np.random.Generator
    ) -> None:
        self._rng, self._nan, self._declared = rng, nan, declared
        self._encoder: Any = fitted.tables.get(spec.table) if spec.encoding.makes_ids else fitted.numbers.get(spec.name)
        kind = getattr(self._encoder, "kind", "int" if isinstance(self._encoder, FittedIds) else "float")
        self._stored = {"int": pa.int64(), "string": pa.string(), "float": pa.float64()}[kind]
        self.type = _as_declared(pa.array([], self._stored), declared).type
        self.rank = {"string": 0, "int": 1, "float": 2}[kind]

    def draw(self, count: int, nulls: bool = True) -> pa.Array:
        """Draws values, some of them null if they may be."""
        known = self._known(count)
        null = self._rng.random(count) < (_RARE if nulls else 0.0)
        values = [None if gone else value for gone, value in zip(null, known, strict=True)]
        return _as_declared(pa.array(values, self._stored), self._declared)

    def _known(self, count: int) -> list[Any]:
        encoder, rng = self._encoder, self._rng
        if isinstance(encoder, FittedVocabulary):
            return self._of_vocabulary(encoder, count)
        if isinstance(encoder, FittedHash):
            numbers = rng.integers(-(2**62), 2**62, count).tolist()
            return numbers if encoder.kind == "int" else [f"value {number}" for number in numbers]
        if isinstance(encoder, FittedIds):
            return list(rng.integers(-1, encoder.count + 2, count).tolist())
        if isinstance(encoder, FittedQuantiles):
            return self._around(encoder.boundaries, count)
        if encoder is not None and encoder.boundaries:
            return self._around(np.asarray(encoder.boundaries, np.float64), count)
        return self._numbers(encoder, count)

    def _of_vocabulary(self, encoder: FittedVocabulary, count: int) -> list[Any]:
        size = len(encoder.values)
        place = self._rng.integers(0, size, count) if size else np.zeros(count, np.int64)
        known = encoder.values.take(pa.array(place)).to_pylist() if size else [0] * count
        unknown = self._rng.random(count) < (_RARE if size else 1.0)
        new = self._rng.integers(-(2**62), 2**62, count).tolist()
        if encoder.kind == "string":
            new = [f"unknown {number}" for number in new]
        return [other if gone else value for gone, value, other in zip(unknown, known, new, strict=True)]

    def _around(self, boundaries: Float64, count: int) -> list[float]:
        """Boundaries themselves, and values beside them."""
        if len(boundaries) == 0:
            return list(self._rng.standard_normal(count).tolist())
        at = boundaries[self._rng.integers(0, len(boundaries), count)]
        beside = self._rng.choice([-1.0, -0.25, 0.0, 0.25, 1.0], count) * (1 + np.abs(at))
        return list(np.clip(at + beside, -LARGEST, LARGEST).tolist())

    def _numbers(self, encoder: FittedNumber | None, count: int) -> list[float]:
        log, shift, scale = (False, 0.0, 1.0) if encoder is None else (encoder.log, encoder.shift, encoder.scale)
        t = shift + scale * self._rng.standard_normal(count)
        values = np.copysign(np.expm1(np.minimum(np.abs(t), 50.0)), t) if log else t
        if self._nan:
            values = np.where(self._rng.random(count) < _RARE, np.nan, values)
        return list(values.tolist())
