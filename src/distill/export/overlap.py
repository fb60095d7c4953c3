"""What it costs to store item vectors in fewer bits: which items of the best ones change."""

from __future__ import annotations

import torch
from torch import Tensor

from distill.data.unlabelled.features import block_of
from distill.export.golden import draw_requests
from distill.export.quantise import overlap_of_best
from distill.export.trained import Trained
from distill.models.cost.random_batch import random_block
from distill.models.prerankers.base import SplitPreRanker
from distill.models.score import RankingScore
from distill.schema import Score, Side
from distill.serving.columns import encode_fields
from distill.serving.items import Float32

BEST = 100


@torch.no_grad()
def measure_overlap(trained: Trained, exact: Float32, stored: Float32, best: int = BEST) -> float | None:
    """Returns the share of the best items of the golden requests that stay the best with stored vectors; None without
    items enough.

    Args:
        trained: The model, in parts.
        exact: Vectors of n items of the catalogue.
        stored: The same as they are stored.
        best: How many.
    """
    model, schema = trained.model, trained.schema
    if len(exact) <= best or not isinstance(model, SplitPreRanker):
        return None
    raw = draw_requests(schema, trained.fitted)
    fields = schema.side(Side.REQUEST)
    arrays = encode_fields(fields, trained.fitted, raw.request, len(raw.counts), "request")
    requests = model.encode_request(block_of(arrays))
    cross = random_block(schema.side(Side.CROSS), len(exact), torch.Generator().manual_seed(0))
    tasks_alone = RankingScore(schema.model_copy(update={"score": Score(tasks=schema.score.tasks)}))

    def scores(vectors: Float32) -> Tensor:
        items = torch.from_numpy(vectors)
        index = torch.zeros(len(items), dtype=torch.int64)
        return torch.stack(
            [tasks_alone(model.interact(row.unsqueeze(0), items, cross, index).logits, {}) for row in requests]
        )

    return overlap_of_best(scores(exact).numpy(), scores(stored).numpy(), best)
