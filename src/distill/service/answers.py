"""Scores as the JSON that is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from distill.errors import DataError
from distill.service.requests import LOGITS, RANKING_SCORE
from distill.serving import Scores


def answer(scores: Scores, fields: Sequence[str] | None, extra: dict[str, Any]) -> bytes:
    """Returns the JSON of some candidates.

    Args:
        scores: Of the candidates.
        fields: What is said of each; see `ScoreRequest`.
        extra: What is sent beside it.

    Raises:
        DataError: A field is unknown.
    """
    tasks = scores.schema.task_names
    wanted = [RANKING_SCORE, *tasks] if fields is None else fields
    if unknown := [name for name in wanted if name not in (RANKING_SCORE, LOGITS, *tasks)]:
        raise DataError(
            "A field is unknown.",
            where="body, fields",
            expected=", ".join((RANKING_SCORE, LOGITS, *tasks)),
            found=repr(unknown[0][:100]),
        )
    out = dict(extra)
    if RANKING_SCORE in wanted:
        out[RANKING_SCORE] = scores.ranking_score
    if LOGITS in wanted:
        out[LOGITS] = np.ascontiguousarray(scores.logits)
    if named := [task for task in tasks if task in wanted]:
        out["predictions"] = {task: np.ascontiguousarray(scores.predictions[task]) for task in named}
    return orjson.dumps(out, option=orjson.OPT_SERIALIZE_NUMPY)
