"""Counts what chunks are made of as they go by; how the stream was cut into chunks changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from distill.data.contents import Contents, Duplicates, LabelNumbers, RepeatedCandidate, SplitContents
from distill.data.format import SPLITS
from distill.data.prepare.accumulate import Extremes, Moments
from distill.data.prepare.arrow import Bool, Int64
from distill.data.prepare.chunk import Chunk, Int8
from distill.data.prepare.duplicates import Repeats, pair_name
from distill.schema import Schema

Float32 = npt.NDArray[np.float32]

_EXAMPLES = 3


class Survey:
    """Gathers the contents of a dataset.

    Args:
        schema: Of the dataset.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._repeated, self._contrary = np.zeros((2, len(SPLITS)), np.int64)
        self._examples: tuple[list[RepeatedCandidate], ...] = tuple([] for _ in SPLITS)
        self._labels = {task.name: _LabelMeter(task.kind == "binary") for task in schema.tasks}

    def add_labels(self, task: str, labels: Float32, split: Int8) -> None:
        """Adds the labels of candidates `[N]`, NaN where not observed."""
        self._labels[task].add(labels, split)

    def add_repeats(self, chunk: Chunk, repeats: Repeats, labels: Mapping[str, Float32]) -> None:
        """Adds candidates whose item is in their request before; labels of all candidates `[N]` by task."""
        later, firsts = repeats.later
        differ = np.zeros(len(later), np.bool_)
        for of_task in labels.values():
            one, other = of_task[later], of_task[firsts]
            differ |= (one != other) & ~np.isnan(one) & ~np.isnan(other)
        split = chunk.candidate_split[later]
        self._repeated += by_split(split)
        self._contrary += by_split(split, differ)
        seconds = repeats.rows[repeats.starts + 1]
        split = chunk.candidate_split[seconds]
        for code, found in enumerate(self._examples):
            for row in seconds[split == code][: _EXAMPLES - len(found)].tolist():
                request, item = pair_name(chunk, self._schema, row)
                found.append(RepeatedCandidate(request=request, item=item))

    def _duplicates(self, code: int) -> Duplicates:
        return Duplicates(
            candidates=int(self._repeated[code]),
            other_label=int(self._contrary[code]),
            examples=tuple(self._examples[code]),
        )

    def result(self) -> Contents:
        """Returns what was counted."""
        splits = {}
        for code, name in enumerate(SPLITS):
            splits[name] = SplitContents(
                duplicates=self._duplicates(code),
                labels={task: meter.result(code) for task, meter in self._labels.items()},
            )
        return Contents(splits=splits)


class _LabelMeter:
    """Labels of one task, by split; of binary ones the mean follows from the counts."""

    def __init__(self, is_binary: bool) -> None:
        self._candidates, self._labelled, self._positive = (np.zeros(len(SPLITS), np.int64) for _ in range(3))
        self._values = None if is_binary else [(Extremes(), Moments()) for _ in SPLITS]

    def add(self, labels: Float32, split: Int8) -> None:
        known = ~np.isnan(labels)
        self._candidates += by_split(split)
        self._labelled += by_split(split[known])
        self._positive += by_split(split[labels > 0])
        for code, (extremes, moments) in enumerate(self._values or ()):
            values = labels[known & (split == code)].astype(np.float64)
            extremes.add(values)
            moments.add(values)

    def result(self, code: int) -> LabelNumbers:
        labelled, positive = int(self._labelled[code]), int(self._positive[code])
        low = mean = high = None
        if labelled and self._values is None:
            low, mean, high = float(positive == labelled), positive / labelled, float(positive > 0)
        elif labelled and self._values is not None:
            extremes, moments = self._values[code]
            low, mean, high = extremes.low, moments.result()[0], extremes.high
        candidates = int(self._candidates[code])
        return LabelNumbers(candidates=candidates, labelled=labelled, positive=positive, low=low, mean=mean, high=high)


def by_split(split: Int8, rows: Int64 | Bool | slice = slice(None)) -> Int64:
    """Counts rows (positions, or a mask; all if not given) by their split `[3]`."""
    return np.bincount(split[rows], minlength=len(SPLITS))
