"""The linear part of a model: one weight per id and task, one per number; a function of a number that is embedded."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from distill.batch import Batch, FeatureBlock
from distill.features import EmbeddingTables, MeanPooling, SideEncoder
from distill.schema import Schema, Side


class LinearSide(nn.Module):
    """z_k = Σ_f w_{k,f}[x_f] over ids, the mean of a sequence's weights, and w_k·x over vectors and numbers.

    Of a number that is embedded it is an embedding of width K, such as a piecewise linear function for each task.

    Every z is 0 at first.

    Args:
        schema: Prepared schema.
        side: Which fields.
        tables: Weights of ids, one per id and task.
    """

    def __init__(self, schema: Schema, side: Side, tables: EmbeddingTables) -> None:
        super().__init__()
        self.num_tasks = len(schema.tasks)
        self.encoder = SideEncoder(schema, side, tables, MeanPooling())
        layout = self.encoder.layout
        num_dense = sum(layout.widths[name] for name in layout.dense)
        self._num_embedded = layout.num_columns - num_dense
        self.dense = nn.Parameter(torch.zeros(num_dense, self.num_tasks))

    def forward(self, block: FeatureBlock) -> Tensor:
        """Returns `[B, K]`."""
        embedded, dense = self.encoder(block).split([self._num_embedded, self.dense.shape[0]], dim=1)
        z: Tensor = dense @ self.dense
        if self._num_embedded:
            z = z + torch.unflatten(embedded, 1, (self._num_embedded // self.num_tasks, self.num_tasks)).sum(1)
        return z


class LinearPart(nn.Module):
    """z_k over the three sides, with one bias per task.

    Args:
        schema: Prepared schema.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.request, self.candidate, self.cross = linear_sides(schema)
        self.bias = nn.Parameter(self.request.dense.new_zeros(len(schema.tasks)))

    def forward(self, batch: Batch) -> Tensor:
        """Returns `[N, K]`."""
        request: Tensor = self.request(batch.request).index_select(0, batch.request_index)
        z: Tensor = request + self.candidate(batch.candidate) + self.cross(batch.cross) + self.bias
        return z


def linear_sides(schema: Schema) -> Iterator[LinearSide]:
    """Yields the parts of request, candidate and cross fields; their tables, all 0 at first, are never sharded."""
    fields = tuple(f.model_copy(update={"embedding_dim": None}) for f in schema.fields)
    tables = EmbeddingTables(schema.model_copy(update={"fields": fields}), len(schema.tasks), 0.0)
    return (LinearSide(schema, side, tables) for side in Side)
