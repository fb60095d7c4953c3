"""Random batches of a schema, for measurements that need shapes and not meanings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.batch import Batch, FeatureBlock, Origin, Ragged, Stage
from distill.schema import FieldSpec, Kind, Schema, Side

TYPICAL_LENGTH = 50


def random_batch(schema: Schema, sizes: Sequence[int], seed: int = 0) -> Batch:
    """Draws a batch of requests, all candidates exposed, observed and negative.

    Args:
        schema: Prepared schema.
        sizes: Number of candidates of each request.
        seed: Of the draws.

    Returns:
        A batch whose sequences have their `max_length`, or 50 values if the schema names none.
    """
    generator = torch.Generator().manual_seed(seed)
    requests, candidates, tasks = len(sizes), sum(sizes), len(schema.tasks)
    number = torch.arange(candidates)
    return Batch(
        request=random_block(schema.side(Side.REQUEST), requests, generator),
        candidate=random_block(schema.side(Side.CANDIDATE), candidates, generator),
        cross=random_block(schema.side(Side.CROSS), candidates, generator),
        request_index=torch.arange(requests).repeat_interleave(torch.tensor(sizes)),
        labels=torch.zeros(candidates, tasks),
        observed=torch.ones(candidates, tasks, dtype=torch.bool),
        stage=torch.full((candidates,), int(Stage.EXPOSED)),
        origin=torch.full((candidates,), int(Origin.LOG)),
        weight=torch.ones(candidates),
        request_id=torch.arange(requests),
        user_id=torch.arange(requests),
        item_id=number,
        row=number,
        columns={},
    )


def random_block(fields: Sequence[FieldSpec], rows: int, generator: torch.Generator) -> FeatureBlock:
    """Draws the fields of one side: uniform ids, standard normal numbers and vectors."""

    def ids(spec: FieldSpec, count: int) -> Tensor:
        return torch.randint(0, spec.size or 1, (count,), generator=generator)

    columns = [ids(f, rows) for f in fields if f.is_id]
    sequences = {}
    for spec in (f for f in fields if f.is_sequence):
        length = spec.max_length or TYPICAL_LENGTH
        count, lengths = rows * length, torch.full((rows,), length)
        values = torch.randn(count, spec.width or 0, generator=generator) if spec.has_vectors else ids(spec, count)
        sequences[spec.name] = Ragged(values, lengths)
    return FeatureBlock(
        ids=torch.stack(columns, dim=1) if columns else torch.zeros(rows, 0, dtype=torch.int64),
        numbers=torch.randn(rows, sum(f.is_number for f in fields), generator=generator),
        vectors={f.name: torch.randn(rows, f.width or 0, generator=generator) for f in fields if f.kind is Kind.VECTOR},
        sequences=sequences,
    )
