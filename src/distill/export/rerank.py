"""Re-ranking at export: what a model can have of it, and the order that it gives of the golden requests."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from distill.encodings.arrow import Int64
from distill.errors import ConfigError
from distill.export.golden import RawRequests, candidate_vectors
from distill.export.trained import Trained
from distill.models.prerankers.base import SplitPreRanker
from distill.schema import Side, source_columns
from distill.serving import Rerank, Scores
from distill.serving.ranking import reranked

_log = logging.getLogger(__name__)


def read_rerank(given: Mapping[str, Any] | None) -> Rerank | None:
    """Reads the options of a config.

    Raises:
        ConfigError: One is missing, not known, or not of its kind.
    """
    if given is None:
        return None
    try:
        return Rerank.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            "The options of re-ranking are wrong.",
            where=".".join(["rerank", *map(str, first["loc"])]),
            expected="type mmr or dpp with a trade_off, or quotas with quotas; window, vectors, quotas if wanted",
            found=first["msg"].removeprefix("Value error, "),
        ) from None


def check_rerank(trained: Trained, rerank: Rerank) -> None:
    """Refuses what the model cannot have, before any work is done.

    Raises:
        ConfigError: Vectors are compared of a model that has none, or a quota reads a column of lists.
    """
    closed = trained.model.closed_form() if isinstance(trained.model, SplitPreRanker) else None
    is_split = isinstance(trained.model, SplitPreRanker)
    if rerank.needs_vectors and not (is_split and (closed is None or closed.has_vectors)):
        raise ConfigError(
            "Re-ranking compares vectors of candidates, and this model has none.",
            where="rerank.type",
            expected="quotas, or a pre-ranker with vectors of both sides, such as two_tower",
            found=f"{rerank.type} of {trained.name}",
        )
    for spec in trained.schema.fields:
        own = [source for source in spec.sources if source.side is not Side.REQUEST]
        if lists := [source.column for source in own if source.list and source.column in rerank.columns]:
            raise ConfigError(
                "A quota reads a column of lists.",
                where="rerank.quotas",
                expected="a column with one category for each candidate",
                found=f"{lists[0]}, a {'list' if spec.made is not None else spec.kind.value}",
            )
    known = {*source_columns(trained.schema.fields, of_request=False), *trained.schema.score.columns}
    for column in (name for name in rerank.columns if name not in known):
        _log.warning("A quota reads column %r, which no field uses: each request must supply it.", column)


def golden_places(
    trained: Trained, rerank: Rerank, raw: RawRequests, logits: torch.Tensor, order: torch.Tensor
) -> Int64:
    """Returns the place of each golden candidate after re-ranking its request `[N]`, by what the checkpoint says.

    Args:
        trained: The model.
        rerank: How.
        raw: The golden requests.
        logits: Of the checkpoint `[N, K]`.
        order: Its ranking score `[N]`.
    """
    vectors = None
    if rerank.needs_vectors:
        vectors = candidate_vectors(trained.model, trained.schema, trained.fitted, raw).numpy()
    scores = Scores(logits.numpy(), order.numpy(), trained.schema, vectors)
    out, first = np.empty(len(scores.ranking_score), np.int64), 0
    for count in raw.counts.tolist():
        columns = {name: raw.candidate[name].slice(first, count) for name in rerank.columns}
        rows = np.arange(first, first + count)
        out[rows[reranked(scores.take(rows), count, rerank, columns)]] = np.arange(count)
        first += count
    return out
