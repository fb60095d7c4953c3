"""Looks at a teacher's scores as they go by: how many there are, their range, and how they compare with the labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from distill.codes import Stage
from distill.data.format import TeacherNumbers
from distill.data.prepare.accumulate import Lowest, Moments
from distill.data.prepare.streams import Stream, Streams, absorb_stream, as_they_come
from distill.encodings.values import Float64
from distill.schema import TeacherColumns

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]


class TeacherMeter:
    """Gathers the numbers of one task from arrays of candidates; how the stream was cut does not change them.

    Args:
        teacher: Says how scores are declared; logits if None.
        streams: How numbers are taken whose order counts.
    """

    def __init__(self, teacher: TeacherColumns | None, streams: Streams = as_they_come) -> None:
        self._teacher = teacher
        self._candidates = np.zeros(len(Stage), np.int64)
        self._scored = np.zeros(len(Stage), np.int64)
        self._low, self._high, self._scores = Lowest(), Lowest(), streams(Moments())
        self._labelled, self._probabilities, self._labels = 0, streams(Moments()), streams(Moments())

    def add(self, logits: Float32, labels: Float32, stage: Int8) -> None:
        """Adds candidates `[N]`: logits are NaN where there is no score, labels where none is observed."""
        scored = ~np.isnan(logits)
        self._candidates += np.bincount(stage, minlength=len(Stage))
        self._scored += np.bincount(stage[scored], minlength=len(Stage))
        declared = self._declared(logits[scored].astype(np.float64))
        self._low.add(declared)
        self._high.add(-declared)
        self._scores.add(declared)
        both = scored & ~np.isnan(labels)
        self._labelled += int(both.sum())
        self._labels.add(labels[both].astype(np.float64))
        if self._teacher is None or self._teacher.kind != "position":
            self._probabilities.add(_sigmoid(logits[both].astype(np.float64)))

    def absorb(self, other: TeacherMeter) -> None:
        """Adds what another one gathered from later candidates."""
        self._candidates += other._candidates
        self._scored += other._scored
        self._labelled += other._labelled
        self._low.absorb(other._low)
        self._high.absorb(other._high)
        for own, more in zip(self._streams, other._streams, strict=True):
            absorb_stream(own, more)

    @property
    def _streams(self) -> tuple[Stream[tuple[float, float]], ...]:
        return self._scores, self._probabilities, self._labels

    def result(self) -> TeacherNumbers:
        """Returns the numbers."""
        known = bool(self._scored.sum())
        ordered = self._teacher is not None and self._teacher.kind == "position"
        return TeacherNumbers(
            candidates=_by_stage(self._candidates, self._candidates),
            scored=_by_stage(self._scored, self._candidates),
            low=self._low.value if known else None,
            mean=self._scores.result()[0] if known else None,
            high=-self._high.value if known else None,
            low_count=self._low.count,
            high_count=self._high.count,
            low_next=self._low.next if np.isfinite(self._low.next) else None,
            high_next=-self._high.next if np.isfinite(self._high.next) else None,
            labelled=self._labelled,
            probability=self._probabilities.result()[0] if self._labelled and not ordered else None,
            label=self._labels.result()[0] if self._labelled else None,
        )

    def _declared(self, logits: Float64) -> Float64:
        if self._teacher is None or self._teacher.kind == "logit":
            return logits
        if self._teacher.kind == "probability":
            return _sigmoid(logits)
        return np.rint(np.exp(-logits)) + self._teacher.first - 1


def _sigmoid(logits: Float64) -> Float64:
    return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))


def _by_stage(counts: Int64, present: Int64) -> dict[str, int]:
    return {stage.name.lower(): int(counts[stage]) for stage in Stage if present[stage]}
