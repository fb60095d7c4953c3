"""The best candidates of a request: in the order of the ranking score, or re-ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from distill.encodings.arrow import Int64
from distill.errors import DataError
from distill.serving.columns import Values
from distill.serving.diversity.criteria import Criterion
from distill.serving.diversity.options import Rerank
from distill.serving.diversity.quotas import Limit
from distill.serving.diversity.select import choose, criterion_of
from distill.serving.scores import Float32, Scores


@dataclass(frozen=True)
class TopK:
    """The best k candidates of a request, the best first.

    Attributes:
        positions: Where they were `[k]`; fewer if there were fewer candidates.
        scores: Theirs.
        items: Their keys, if candidates came by key.
    """

    positions: Int64
    scores: Scores
    items: Values | None


def reranked(scores: Scores, k: int, rerank: Rerank, columns: Mapping[str, pa.Array]) -> Int64:
    """Returns the positions of the best k candidates, re-ranked, the best first.

    Args:
        scores: Of all N candidates.
        k: How many; N if that is less.
        rerank: How.
        columns: Raw columns of the candidates that quotas read `[N]`.

    Raises:
        DataError: The scores have no vectors and it compares them, or a column holds lists.
    """
    score = scores.ranking_score
    return choose(criterion(scores, rerank, k), score, k, limits_of(rerank, columns))


def criterion(scores: Scores, rerank: Rerank, k: int) -> Criterion:
    """Returns what is maximised; see `reranked`."""
    vectors = None
    if rerank.needs_vectors:
        if scores.vectors is None:
            raise DataError(
                "Re-ranking compares vectors of candidates, and this model has none.",
                where="rerank, type",
                expected="quotas, or a model such as two_tower",
                found=rerank.type,
            )
        vectors = flat_vectors(scores.vectors, rerank)
    return criterion_of(rerank.type, scores.ranking_score, vectors, k, rerank.trade_off, rerank.window)


def flat_vectors(vectors: Float32, rerank: Rerank) -> Float32:
    """Returns one vector for each candidate `[N, D]`: those of its tasks one behind the other, or their mean.

    Args:
        vectors: `[N, D]`, or `[N, K or 1, …]`.
        rerank: Says which.
    """
    if rerank.vectors == "mean" and vectors.ndim > 2:
        vectors = vectors.mean(1)
    return vectors.reshape(len(vectors), int(np.prod(vectors.shape[1:])))


def limits_of(rerank: Rerank, columns: Mapping[str, pa.Array]) -> list[Limit]:
    """Returns quotas with the category of each candidate; see `reranked`."""
    codes = {name: category_codes(columns[name], name) for name in rerank.columns}
    return [Limit(codes[quota.column], quota.most, quota.window) for quota in rerank.quotas]


def category_codes(values: pa.Array, name: str) -> Int64:
    """Returns the category of each value `[N]`, from 0 on; −1 of null.

    Raises:
        DataError: Values are lists.
    """
    if pa.types.is_nested(values.type):
        raise DataError(
            "A quota reads a column of lists.",
            where=f"candidates, column {name!r}",
            expected="one category for each candidate",
            found=str(values.type),
        )
    indices = pc.dictionary_encode(values).indices
    codes: Int64 = pc.fill_null(indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes
