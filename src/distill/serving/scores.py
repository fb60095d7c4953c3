"""What a bundle says of candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from distill.encodings.arrow import Int64
from distill.schema import Schema

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """Scores of N candidates.

    Attributes:
        logits: Of the model `[N, K]`: the odds of the log that it learned from.
        ranking_score: By which candidates are ordered `[N]`: the logarithm of Π_k p_k^a_k · Π_c x_c^b_c.
        schema: Names the tasks.
        vectors: Of the candidates `[N, …]`, as scoring used them; None of a model that has none, or of no candidates.
    """

    logits: Float32
    ranking_score: Float32
    schema: Schema
    vectors: Float32 | None = None

    @cached_property
    def predictions(self) -> dict[str, Float32]:
        """Task to what is predicted of each candidate `[N]`: a probability, corrected for the sampling of negatives, or
        the value of a graded or value task."""
        logits = corrected(self.schema, self.logits)
        return {
            task.name: sigmoid(logits[:, k]) if task.kind == "binary" else logits[:, k]
            for k, task in enumerate(self.schema.tasks)
        }

    def order(self) -> Int64:
        """Positions of the candidates `[N]`, the best first; of equal ones the first is before the others."""
        order: Int64 = np.argsort(-self.ranking_score, kind="stable")
        return order

    def take(self, positions: Int64 | slice) -> Scores:
        """Returns the scores of some candidates, in the order of their positions; of a slice without a copy."""
        vectors = None if self.vectors is None else self.vectors[positions]
        return Scores(self.logits[positions], self.ranking_score[positions], self.schema, vectors)


def corrected(schema: Schema, logits: Float32) -> Float32:
    """Returns the logits of the world `[N, K]` for those of a log whose negatives were sampled; `Schema.log_rates`."""
    return logits + np.asarray(schema.log_rates, np.float32) if any(schema.log_rates) else logits


def sigmoid(z: Float32) -> Float32:
    """1 / (1 + e^−z), without overflow."""
    return np.exp(log_sigmoid(z))


def log_sigmoid(z: Float32) -> Float32:
    """log(1 / (1 + e^−z)) = min(z, 0) − log(1 + e^−|z|)."""
    logs: Float32 = np.minimum(z, np.float32(0)) - np.log1p(np.exp(-np.abs(z)))
    return logs


def ranking_score(schema: Schema, logits: Float32, columns: Mapping[str, npt.NDArray[np.float32]]) -> Float32:
    """Computes Σ_k a_k·log σ(z_k) + Σ_c b_c·log x_c; graded and value tasks enter by z_k, and the logits are corrected
    for the sampling of negatives.

    Args:
        schema: Says which powers; every task has 1 if it declares no score.
        logits: `[N, K]`.
        columns: Columns of the score `[N]`.
    """
    powers = schema.score.tasks or dict.fromkeys(schema.task_names, 1.0)
    logits = corrected(schema, logits)
    parts = [
        np.float32(powers[task.name]) * (log_sigmoid(logits[:, k]) if task.kind == "binary" else logits[:, k])
        for k, task in enumerate(schema.tasks)
        if task.name in powers
    ]
    parts += [np.float32(power) * np.log(columns[name]) for name, power in schema.score.columns.items()]
    return sum(parts[1:], parts[0]) if parts else np.zeros(len(logits), np.float32)
