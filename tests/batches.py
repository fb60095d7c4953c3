"""A small prepared schema with every kind of field, and random batches of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from distill.batch import Batch, FeatureBlock, Ragged
from distill.schema import FieldSpec, Kind, Schema, Side, parse_schema


def make_schema(tasks: Sequence[str] = ("click", "like")) -> Schema:
    """Fields of all kinds on all sides; the history shares the item's table; `dwell` and `secret` are privileged."""
    return parse_schema(
        {
            "name": "tiny",
            "layout": "requests",
            "keys": {"stage": "stage"},
            "fields": [
                {"name": "user", "side": "request", "kind": "id", "size": 12},
                {"name": "hour", "side": "request", "kind": "id", "size": 6, "embedding_dim": 3},
                {"name": "age", "side": "request", "kind": "number"},
                {"name": "history", "side": "request", "kind": "sequence", "table": "item", "size": 20},
                {"name": "item", "side": "candidate", "kind": "id", "size": 20},
                {"name": "image", "side": "candidate", "kind": "vector", "width": 4},
                {"name": "price", "side": "candidate", "kind": "number"},
                {"name": "secret", "side": "candidate", "kind": "id", "size": 5, "privileged": True},
                {"name": "seen", "side": "cross", "kind": "number"},
                {"name": "dwell", "side": "cross", "kind": "number", "privileged": True},
            ],
            "tasks": [{"name": name, "observed": "exposed"} for name in tasks],
        },
        "test",
    )


def make_batch(schema: Schema, sizes: Sequence[int] = (3, 1, 4), seed: int = 0) -> Batch:
    """A random batch of requests of the given sizes."""
    generator = torch.Generator().manual_seed(seed)
    requests, candidates, tasks = len(sizes), sum(sizes), len(schema.tasks)
    return Batch(
        request=make_block(schema.side(Side.REQUEST), requests, generator),
        candidate=make_block(schema.side(Side.CANDIDATE), candidates, generator),
        cross=make_block(schema.side(Side.CROSS), candidates, generator),
        request_index=torch.repeat_interleave(torch.arange(requests), torch.tensor(sizes, dtype=torch.long)),
        labels=torch.randint(0, 2, (candidates, tasks), generator=generator).float(),
        observed=torch.ones(candidates, tasks, dtype=torch.bool),
        stage=torch.full((candidates,), 3),
        origin=torch.zeros(candidates, dtype=torch.long),
        weight=torch.ones(candidates),
        request_id=torch.arange(requests),
        user_id=torch.arange(requests),
        item_id=torch.arange(candidates),
        row=torch.arange(candidates),
        columns={},
    )


def make_block(fields: Sequence[FieldSpec], rows: int, generator: torch.Generator) -> FeatureBlock:
    """Random values of the fields of one side."""
    ids = [torch.randint(0, f.size or 1, (rows,), generator=generator) for f in fields if f.is_id]
    numbers = sum(f.is_number for f in fields)
    sequences = {}
    for spec in fields:
        if spec.kind is Kind.SEQUENCE:
            lengths = torch.randint(0, 4, (rows,), generator=generator)
            values = torch.randint(0, spec.size or 1, (int(lengths.sum()),), generator=generator)
            sequences[spec.name] = Ragged(values, lengths)
    return FeatureBlock(
        ids=torch.stack(ids, dim=1) if ids else torch.zeros(rows, 0, dtype=torch.long),
        numbers=torch.randn(rows, numbers, generator=generator),
        vectors={f.name: torch.randn(rows, f.width or 0, generator=generator) for f in fields if f.width is not None},
        sequences=sequences,
    )
