"""What a model says of raw candidates as columns, beside their own keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from distill.data.prepare.chunk import Chunk
from distill.models.score import predictions
from distill.schema import Schema

SCORE, RANK, ROW, CANDIDATE = "ranking_score", "rank", "row", "candidate"
_PREDICTED = "pred_"


@dataclass(frozen=True)
class PredictionTable:
    """Makes tables of predictions.

    Attributes:
        schema: Of the model.
        keep: Raw columns that are written too.
        of_candidate: Of a raw column, whether it has a value for each candidate rather than for each request.
        top_k: Only the best so many of each request; all if None.
    """

    schema: Schema
    keep: Sequence[str]
    of_candidate: Mapping[str, bool]
    top_k: int | None

    @property
    def made(self) -> list[str]:
        """Names of the columns of numbers that the model made."""
        return [*(_PREDICTED + task for task in self.schema.task_names), SCORE]

    def table(self, chunk: Chunk, logits: Tensor, score: npt.NDArray[np.float32]) -> pa.Table:
        """Returns the table of a chunk.

        Args:
            chunk: The raw columns of N candidates.
            logits: Of the model `[N, K]`.
            score: The ranking score `[N]`.
        """
        columns = self._keys(chunk)
        for task, predicted in zip(self.schema.task_names, predictions(self.schema, logits).T, strict=True):
            columns[_PREDICTED + task] = pa.array(predicted.numpy())
        columns[SCORE] = pa.array(score)
        if self.schema.layout == "flat":
            return pa.table(columns)
        ranks = places(score, chunk.counts)
        columns[RANK] = pa.array(ranks)
        table = pa.table(columns)
        return table if self.top_k is None else table.filter(pa.array(ranks <= self.top_k))

    def _keys(self, chunk: Chunk) -> dict[str, pa.Array]:
        """The raw keys of the candidates, and the columns that are kept."""
        keys, request = self.schema.keys, pa.array(np.repeat(np.arange(len(chunk.counts)), chunk.counts))
        columns: dict[str, pa.Array] = {}
        if keys.request is not None:
            columns[keys.request] = chunk.request[keys.request].take(request)
        else:
            columns[ROW] = pa.array(chunk.candidate_row)
        if keys.item is not None:
            columns[keys.item] = chunk.candidate[keys.item]
        elif self.schema.layout != "flat":
            columns[CANDIDATE] = pa.array(chunk.numbers)
        for name in self.keep:
            columns[name] = chunk.candidate[name] if self.of_candidate[name] else chunk.request[name].take(request)
        return {name: _decoded(column) for name, column in columns.items()}


def _decoded(column: pa.Array) -> pa.Array:
    """Text as text: some batches of a file may come as dictionaries, and others not."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def places(score: npt.NDArray[np.float32], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Places within each request `[N]`, 1 for the highest score; of equal ones the first row is before the others.

    Requests of about one length are sorted as rows of one array, which is several times as fast as a sort of all rows
    by request and score.

    Args:
        score: Of all candidates, request after request `[N]`; one that is not a number is the last of its request.
        counts: Candidates of each request `[R]`.
    """
    found = np.empty(len(score), np.int32)
    starts, size = np.cumsum(counts) - counts, np.frexp(counts - 0.5)[1]  # 2^(size - 1) < count ≤ 2^size
    for each in np.unique(size[counts > 0]):
        alike = np.flatnonzero((size == each) & (counts > 0))
        place = np.arange(counts[alike].max(), dtype=np.int32)
        real = place < counts[alike, None]
        rows = (starts[alike, None] + place)[real]
        key = np.full(real.shape, np.nan, np.float32)
        key[real] = -score[rows]
        ranks = np.empty(real.shape, np.int32)
        np.put_along_axis(ranks, np.argsort(key, axis=1, kind="stable"), place[None] + 1, axis=1)
        found[rows] = ranks[real]
    return found
