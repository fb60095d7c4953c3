"""What is known of candidates beside their fields: item, stage, labels, values, and what a teacher says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from distill.codes import MISSING_KEY
from distill.data.prepare.attribute import EventLabels
from distill.data.prepare.chunk import Chunk, Int8
from distill.data.prepare.duplicates import Repeats
from distill.data.prepare.keys import keys_of
from distill.data.prepare.targets import labels, stages, values
from distill.data.prepare.teacher import hidden_vectors, teacher_logits
from distill.encodings.arrow import Bool, Int64
from distill.schema import Schema

Float32 = npt.NDArray[np.float32]
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class Candidates:
    """N candidates.

    Attributes:
        items: Item keys `[N]`, `MISSING_KEY` where there is none.
        stage: `[N]`.
        labels: Task to its labels, NaN where not observed `[N]`.
        null_labels: Task to whether the label is null in the raw data `[N]`.
        elsewhere: Task to the request of each item that was listed for it and is none of the candidates.
        values: Column of the score or of evaluation to its numbers `[N]`.
        logits: Task to the teacher's logits, NaN where it did not score `[N]`.
        hidden: Name to the teacher's hidden vectors `[N]`.
    """

    items: Int64
    stage: Int8
    labels: Mapping[str, Float32]
    null_labels: Mapping[str, Bool]
    elsewhere: Mapping[str, Int64]
    values: Mapping[str, Float32]
    logits: Mapping[str, Float32]
    hidden: Mapping[str, pa.Array]

    def select(self, kept: Bool) -> Candidates:
        """Returns those of a mask `[N]`."""

        def of(columns: Mapping[str, npt.NDArray[_Scalar]]) -> dict[str, npt.NDArray[_Scalar]]:
            return {name: column[kept] for name, column in columns.items()}

        return replace(
            self,
            items=self.items[kept],
            stage=self.stage[kept],
            labels=of(self.labels),
            null_labels=of(self.null_labels),
            values=of(self.values),
            logits=of(self.logits),
            hidden={name: vectors.filter(pa.array(kept)) for name, vectors in self.hidden.items()},
        )


def read_candidates(chunk: Chunk, schema: Schema, events: Mapping[str, EventLabels]) -> Candidates:
    """Reads the candidates of a chunk.

    Args:
        chunk: Whole requests.
        schema: Of the dataset.
        events: Task to its labels, of tasks whose events were attributed.

    Raises:
        DataError: A column does not hold what the schema says.
    """
    stage = stages(chunk, schema.keys.stage)
    items = _items(chunk, schema.keys.item)
    given = labels(chunk, schema, stage, items, events)
    logits = teacher_logits(chunk, schema)
    return Candidates(
        items=items,
        stage=stage,
        labels={task: found.values for task, found in given.items()},
        null_labels={task: found.null for task, found in given.items()},
        elsewhere={task: found.elsewhere for task, found in given.items()},
        values=values(chunk, schema),
        logits=logits,
        hidden=hidden_vectors(chunk, schema, logits),
    )


def _items(chunk: Chunk, column: str | None) -> Int64:
    if column is None:
        return np.full(chunk.num_candidates, MISSING_KEY)
    return keys_of(chunk.candidate[column], chunk.candidate_place(column, "keys.item"))[0]


def merged(candidates: Candidates, repeats: Repeats, schema: Schema) -> Candidates:
    """Gathers what is known of each group of repeated candidates in its first one; the others stay as they are.

    The stage is the furthest. A label is, of those observed, the largest, or of a task of kind `value` the last. What
    the teacher says is that of the first candidate that it scored. Other values are those of the first.
    """
    rows, starts, firsts = repeats.rows, repeats.starts, repeats.firsts

    def with_firsts(column: npt.NDArray[_Scalar], found: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        changed: npt.NDArray[_Scalar] = column.copy()
        changed[firsts] = found
        return changed

    def label(task: str, kind: str) -> Float32:
        column = candidates.labels[task]
        return with_firsts(column, (_last_known if kind == "value" else _largest)(column, rows, starts))

    found = replace(
        candidates,
        stage=with_firsts(candidates.stage, np.maximum.reduceat(candidates.stage[rows], starts)),
        labels={task.name: label(task.name, task.kind) for task in schema.tasks},
        null_labels={
            name: with_firsts(null, np.logical_and.reduceat(null[rows], starts))
            for name, null in candidates.null_labels.items()
        },
    )
    if not candidates.logits:
        return found
    scored = np.logical_or.reduce([~np.isnan(logit) for logit in candidates.logits.values()])
    first_scored = np.minimum.reduceat(np.where(scored[rows], rows, len(scored)), starts)
    take = np.arange(len(scored))
    take[firsts] = np.where(first_scored < len(scored), first_scored, firsts)
    return replace(
        found,
        logits={name: logit[take] for name, logit in candidates.logits.items()},
        hidden={name: vectors.take(pa.array(take)) for name, vectors in candidates.hidden.items()},
    )


def _largest(column: Float32, rows: Int64, starts: Int64) -> Float32:
    """Returns the largest number of each group `[G]`, NaN where there is none."""
    return np.fmax.reduceat(column[rows], starts)


def _last_known(column: Float32, rows: Int64, starts: Int64) -> Float32:
    """Returns the last number of each group `[G]`, NaN where there is none."""
    last = np.maximum.reduceat(np.where(np.isnan(column[rows]), -1, rows), starts)
    return np.where(last < 0, np.float32(np.nan), column[last])
