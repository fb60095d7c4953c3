"""Scores as the JSON that is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from distill.errors import DataError
from distill.service.requests import LOGITS, RANKING_SCORE
from distill.serving import Scores

Int64 = npt.NDArray[np.int64]


def answer(
    scores: Scores, places: Int64 | None, fields: Sequence[str] | None, extra: dict[str, Any], rows: Int64 | None = None
) -> bytes:
    """Returns the JSON of some candidates.

    Args:
        scores: Of N candidates.
        places: Which of them, in which order; None for all.
        fields: What is said of each; see `ScoreRequest`.
        extra: What is sent beside it.
        rows: Their rows in the request, if some of these were left out.

    Raises:
        DataError: A field is not known.
    """
    tasks = scores.schema.task_names
    wanted = [RANKING_SCORE, *tasks] if fields is None else fields
    if unknown := [name for name in wanted if name not in (RANKING_SCORE, LOGITS, *tasks)]:
        raise DataError(
            "A field is not known.",
            where="body, fields",
            expected=", ".join((RANKING_SCORE, LOGITS, *tasks)),
            found=repr(unknown[0][:100]),
        )
    out = dict(extra)
    if places is not None:
        out["positions"] = places if rows is None else rows[places]
    if RANKING_SCORE in wanted:
        out[RANKING_SCORE] = _taken(scores.ranking_score, places)
    if LOGITS in wanted:
        out[LOGITS] = _taken(scores.logits, places)
    if named := [task for task in tasks if task in wanted]:
        out["predictions"] = {task: _taken(scores.predictions[task], places) for task in named}
    return orjson.dumps(out, option=orjson.OPT_SERIALIZE_NUMPY)


def _taken(values: npt.NDArray[np.float32], places: Int64 | None) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(values if places is None else values[places])
