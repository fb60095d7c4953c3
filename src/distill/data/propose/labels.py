"""Which columns are labels, and which the scores of a ranker."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.data.propose.values import Values
from distill.data.propose.words import CLICK, GRADE, LABEL, NO_LABEL, PURCHASE, TEACHER, has
from distill.encodings.arrow import null_mask

TaskKind = Literal["binary", "graded", "value"]
_HIGHEST_GRADE = 10
_FEWEST_TELLING = 10
_MOST_RATINGS = 2 * _HIGHEST_GRADE + 1  # halves


def label_kind(values: Values) -> TaskKind | None:
    """Says as which kind of task a column reads by its name and values; None if it reads as no label.

    0 and 1 (or true and false) under a name such as click or purchase are binary, small whole numbers under one such as
    relevance or rating graded, halves of these a value.
    """
    if has(values.name, NO_LABEL):
        return None
    if values.is_binary:
        return "binary" if has(values.name, LABEL) else None
    if not has(values.name, GRADE) or not len(values.numbers) or not 0 <= values.low <= values.high <= _HIGHEST_GRADE:
        return None
    if values.is_whole:
        return "graded"
    return "value" if values.distinct <= _MOST_RATINGS else None


def task_order(name: str) -> int:
    """Clicks before what follows them: 0 for clicks, 2 for purchases, 1 for all else."""
    return 0 if has(name, CLICK) else 2 if has(name, PURCHASE) else 1


def listed_name(name: str) -> str:
    """Names the task of a column that lists items: click and purchase by their words, else as the column."""
    return "click" if has(name, CLICK) else "purchase" if has(name, PURCHASE) else name


def is_score(values: Values) -> bool:
    """Whether a column reads as the score that a ranker gave: a number that takes many values, named ctr, logit, …"""
    return values.family == "float" and values.distinct > 2 and has(values.name, TEACHER)


def score_kind(values: Values) -> Literal["probability", "logit"]:
    """Says what scores are by their range."""
    return "probability" if values.low >= 0 and values.high <= 1 and not has(values.name, {"logit"}) else "logit"


def task_of_score(name: str, tasks: list[str]) -> str:
    """Says which of the tasks a score is of: by words for clicks and purchases, else the first."""
    for meaning, own in ((PURCHASE | {"cvr", "pcvr"}, PURCHASE), (CLICK | {"ctr", "pctr"}, CLICK)):
        if has(name, meaning):
            return next((task for task in tasks if has(task, own)), tasks[0])
    return tasks[0]


def only_where(task: Values, other: Values) -> bool:
    """Whether the positives of a binary label are all among those of another one, and there are any."""
    if not (task.is_binary and other.is_binary) or task.array.null_count or other.array.null_count:
        return False
    mine, theirs = task.numbers > 0, other.numbers > 0
    return len(mine) == len(theirs) and bool(mine.any()) and not bool(np.any(mine & ~theirs))


def comes_with(values: Values, task: Values) -> bool:
    """Whether a column tells a binary label: it is there (not null, 0 or empty) for half of the positives or more, and
    for nothing else, as the amount of a purchase is.

    Less than ten values say nothing.
    """
    if values.is_list or values.family == "null" or not task.is_binary or task.array.null_count:
        return False
    there = ~null_mask(values.array)
    if values.family in ("int", "float", "bool"):
        there[there] = np.nan_to_num(values.array.drop_null().cast(pa.float64(), safe=False).to_numpy()) != 0
    elif values.family == "string":
        there &= np.asarray(pc.fill_null(pc.not_equal(values.array, ""), False).to_numpy(zero_copy_only=False))
    positive = task.numbers > 0
    found = int(there.sum())
    return found >= _FEWEST_TELLING and not bool(np.any(there & ~positive)) and 2 * found >= int(positive.sum())
