"""What it costs to encode the raw values of a request: measured through the code that serves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from distill.encodings import FittedEncodings, SideArrays
from distill.encodings.declared import DeclaredColumns
from distill.encodings.rows import NotPlainError, RowEncoder
from distill.export.golden import draw_requests
from distill.schema import FieldSpec, Schema, Side
from distill.serving.columns import as_columns, encode_fields
from distill.serving.inputs import as_inputs

_LEAST_TURNS, _MOST_TURNS = 50, 2_000


def _encoded(
    request: Mapping[str, Any],
    encoder: RowEncoder,
    fields: Sequence[FieldSpec],
    fitted: FittedEncodings,
    declared: DeclaredColumns,
) -> SideArrays:
    """What `Bundle.score` does with a request."""
    try:
        return encoder.encode(request)
    except NotPlainError:
        values = {name: [value] for name, value in request.items()}
        columns = as_columns(values, list(request), 1, "request", declared)
        return encode_fields(fields, fitted, columns, 1, "request")


def encoding_milliseconds(schema: Schema, fitted: FittedEncodings, seconds: float) -> Mapping[str, float]:
    """Times the encoding of the request side of single requests, plain values drawn from what the encodings know.

    Args:
        schema: The model's view of the schema.
        fitted: Its encodings.
        seconds: About how long.

    Returns:
        `encode_ms_p50` and `encode_ms_p99`.
    """
    fields = schema.side(Side.REQUEST)
    raw = draw_requests(schema.model_copy(update={"fields": fields}), fitted)
    names, columns = list(raw.request), [values.to_pylist() for values in raw.request.values()]
    requests = cycle([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)] or [{}])
    encoder, times = RowEncoder(fields, fitted, schema.raw), list[float]()
    declared, end = DeclaredColumns(schema.raw), time.perf_counter() + seconds
    while len(times) < _LEAST_TURNS or (len(times) < _MOST_TURNS and time.perf_counter() < end):
        request = next(requests)
        start = time.perf_counter()
        as_inputs(fields, Side.REQUEST, _encoded(request, encoder, fields, fitted, declared))
        times.append(1000 * (time.perf_counter() - start))
    median, tail = np.percentile(times, [50, 99])
    return {"encode_ms_p50": float(median), "encode_ms_p99": float(tail)}
