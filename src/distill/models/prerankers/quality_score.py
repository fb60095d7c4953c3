"""Static quality score (generation 1): what is known of an item alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, RankerOutput
from distill.errors import ConfigError
from distill.features import TableGroups
from distill.features.groups import set_group_rows
from distill.models.prerankers.fitted import FittedPreRanker
from distill.models.prerankers.id_field import id_field
from distill.ops.ranks import sum_over_ranks
from distill.schema import Schema, Side
from distill.serving.manifest import Interaction

QualityKind = Literal["rate", "popularity"]


class QualityScore(FittedPreRanker):
    """z_k = logit of the item's smoothed rate of task k, or how often the item was observed.

    rate: (positives + m·r_k) / (rows + m), with r_k the rate of all items and m the prior rows. popularity:
    log(1 + rows), standardised over the items that were seen. An item that was not seen has the score of no rows: r_k,
    or that of log 1; if the field is `cold`, the mean of its group's scores. It is counted on observed rows of the
    training split, in one pass; nothing is trained.

    Args:
        schema: Serving view of a prepared schema.
        kind: `rate` or `popularity`.
        prior_rows: m.
        item_field: Candidate id field that names the item; if not given, that of the item key, else the first one.

    Raises:
        ConfigError: The kind is unknown, m is not positive, or there is no such field.
    """

    logits: Tensor

    def __init__(self, schema: Schema, kind: QualityKind, prior_rows: float, item_field: str | None) -> None:
        super().__init__()
        if kind not in ("rate", "popularity") or not prior_rows > 0:
            raise ConfigError(
                "There is no such quality score.",
                where="model.net",
                expected="kind: rate or popularity, prior_rows > 0",
                found=f"kind: {kind}, prior_rows: {prior_rows}",
            )
        self.kind, self.prior_rows = kind, prior_rows
        spec, self._column = id_field(schema, Side.CANDIDATE, item_field, schema.keys.item, "model.net.item_field")
        shape = (spec.size or 0, len(schema.tasks))
        self.register_buffer("logits", torch.zeros(shape))
        self._table, self.groups = spec.table, TableGroups(schema)

    def fit(self, batches: Iterable[Batch]) -> None:
        """Counts rows and positives of each item and task, and fixes the scores; see `FittedPreRanker.fit`."""
        counts, positives = torch.zeros(2, *self.logits.shape, dtype=torch.float64, device=self.logits.device)
        for batch in batches:
            item = batch.candidate.ids[:, self._column]
            weight = batch.observed.double() * batch.weight.double().unsqueeze(1)
            counts.index_add_(0, item, weight)
            positives.index_add_(0, item, weight * batch.labels.double())
        counts, positives = sum_over_ranks(counts), sum_over_ranks(positives)
        self.logits.copy_(self._rates(counts, positives) if self.kind == "rate" else _popularity(counts))
        for table, of in self.groups.items():
            if table == self._table:
                set_group_rows(self.logits, of)

    def _rates(self, counts: Tensor, positives: Tensor) -> Tensor:
        overall = positives.sum(0) / counts.sum(0).clamp(min=1)
        rate = (positives + self.prior_rows * overall) / (counts + self.prior_rows)
        return torch.logit(rate.clamp(1e-6, 1 - 1e-6))

    def encode_request(self, block: FeatureBlock) -> Tensor:
        """Returns nothing of the request `[R, 0]`."""
        return block.numbers.new_zeros((block.num_rows, 0))

    def encode_candidate(self, block: FeatureBlock) -> Tensor:
        """Returns the item's scores `[N, K]`."""
        return self.logits.index_select(0, block.ids[:, self._column])

    def interact(self, request: Tensor, candidate: Tensor, cross: FeatureBlock, request_index: Tensor) -> RankerOutput:
        """Returns the item's scores as logits `[N, K]`."""
        return RankerOutput(candidate, {})

    def closed_form(self) -> Interaction:
        """The item's scores."""
        return Interaction(type="item", bias=(0.0,) * self.logits.shape[1])


def _popularity(counts: Tensor) -> Tensor:
    log_counts = (1 + counts).log()
    seen = counts > 0
    number = seen.sum(0).clamp(min=1)
    mean = (log_counts * seen).sum(0) / number
    variance = ((log_counts - mean).square() * seen).sum(0) / number
    return (log_counts - mean) / variance.sqrt().clamp(min=1e-6)
