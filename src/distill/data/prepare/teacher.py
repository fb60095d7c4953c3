"""What a production ranker says of candidates: its scores as logits, and its hidden vectors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from distill.data.format import hidden_type
from distill.data.prepare.chunk import Chunk
from distill.data.prepare.targets import Float32, check_values
from distill.encodings.arrow import Bool
from distill.encodings.lists import to_vectors
from distill.encodings.tables import NanRule
from distill.encodings.values import first, to_float32, to_numbers
from distill.errors import DataError
from distill.schema import HiddenColumn, Schema

_CLIP = 1e-7


def teacher_logits(chunk: Chunk, schema: Schema) -> dict[str, Float32]:
    """Reads logged teacher scores as logits `[N]`; NaN where the teacher did not score.

    Probabilities are clipped to [1e-7, 1 − 1e-7] first; of positions see `TeacherColumns`.

    Raises:
        DataError: A number is not finite, or not a probability where it should be.
    """
    if schema.teacher is None:
        return {}
    found = {}
    for task, column in schema.teacher.columns.items():
        place = chunk.candidate_place(column, f"teacher of task {task!r}")
        scores, missing = to_numbers(chunk.candidate[column], place, schema.teacher.nan)
        if schema.teacher.kind == "probability":
            if (position := first((scores < 0) | (scores > 1))) >= 0:
                raise DataError(
                    "A teacher score is not a probability.",
                    where=place.at(position),
                    expected="a number in [0, 1]",
                    found=repr(float(scores[position])),
                    remedy="If it stands for no score, write null; if the column holds logits, declare "
                    "`teacher.kind: logit`.",
                )
            scores = np.clip(scores, _CLIP, 1 - _CLIP)
            scores = np.log(scores) - np.log1p(-scores)
        elif schema.teacher.kind == "position":
            best = schema.teacher.first
            scores = np.where(missing, best, scores)
            bad = (scores < best) | (scores != np.floor(scores))
            check_values(scores, bad, place, "a position", f"{best}, {best + 1}, …")
            scores = -np.log(scores - best + 1)
        found[task] = np.where(missing, np.float32(np.nan), to_float32(scores, place))
    return found


def hidden_vectors(chunk: Chunk, schema: Schema, logits: Mapping[str, Float32]) -> dict[str, pa.Array]:
    """Reads logged hidden vectors as fixed-size lists `[N]`; zeros where there is none.

    Args:
        chunk: N candidates.
        schema: Names the columns.
        logits: Of each task that the teacher scores `[N]`.

    Raises:
        DataError: A vector has another width, or a number that is not finite or too large; or one is missing, or a
            number of it, where the teacher scored.
    """
    if schema.teacher is None or not schema.teacher.hidden:
        return {}
    scored: Bool = np.logical_and.reduce([~np.isnan(of_task) for of_task in logits.values()])
    nan = schema.teacher.nan
    return {name: _vectors(chunk, name, spec, scored, nan) for name, spec in schema.teacher.hidden.items()}


def _vectors(chunk: Chunk, name: str, spec: HiddenColumn, scored: Bool, nan: NanRule) -> pa.Array:
    place = chunk.candidate_place(spec.column, f"hidden vector {name!r} of the teacher")
    array, missing = to_vectors(chunk.candidate[spec.column], spec.width, place, nan, null_inside="missing")
    values = array.flatten().to_numpy()
    without = np.zeros(len(array), np.bool_)
    without[missing] = True
    if (row := first(without & scored)) >= 0:
        raise DataError(
            "A hidden vector is missing, or a number of it, where the teacher scored.",
            where=place.at(row),
            expected=f"{spec.width} numbers, or no score either",
            found="null",
            remedy="Write the vector, or null as the score too.",
        )
    largest = float(np.finfo(spec.type).max)
    if (position := first(np.abs(values) > largest)) >= 0:
        raise DataError(
            f"A number of a hidden vector is too large for {spec.type}.",
            where=place.at(position // spec.width),
            expected=f"at most {largest:g} in size",
            found=repr(float(values[position])),
            remedy="Rescale the vectors, or keep them as `type: float32`.",
        )
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(spec.type)), type=hidden_type(spec))
