"""What groups of fields cost in a model, without its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from distill.models.cost.cost import online_flops, request_milliseconds
from distill.schema import Schema

Build = Callable[[Schema, Sequence[str]], nn.Module]


def small_tables(schema: Schema) -> Schema:
    """Returns the schema with two ids per table: the same arithmetic, next to no memory."""
    fields = tuple(f.model_copy(update={"size": 2}) if f.encoding.makes_ids else f for f in schema.fields)
    return schema.model_copy(update={"fields": fields})


def selection_cost(build: Build, schema: Schema, fields: Sequence[str], metric: str, seconds: float) -> float:
    """Measures a model that reads some fields.

    Args:
        build: Builds the model from a schema and the names of its fields.
        schema: Serving view of the prepared schema.
        fields: Names of the fields.
        metric: `flops` (operations that a candidate adds) or `milliseconds` (median of a request of 1,000 candidates on
            one thread).
        seconds: How long to time.
    """
    small = small_tables(schema)
    model = build(small, fields).eval()
    if metric == "flops":
        return float(online_flops(model, small)[1].flops)
    return request_milliseconds(model, small, 1000, seconds)[0]
