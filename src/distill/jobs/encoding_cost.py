"""What it costs to encode the raw values of a request: measured through the code that serves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import cycle

import numpy as np

from distill.encodings import FittedEncodings
from distill.export.golden import draw_requests
from distill.schema import Schema, Side
from distill.serving.inputs import SideInputs
from distill.serving.request import RequestEncoder

_LEAST_TURNS, _MOST_TURNS = 50, 2_000


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
    encoder, inputs, times = RequestEncoder(schema, fitted), SideInputs(fields, Side.REQUEST), list[float]()
    end = time.perf_counter() + seconds
    while len(times) < _LEAST_TURNS or (len(times) < _MOST_TURNS and time.perf_counter() < end):
        request = next(requests)
        start = time.perf_counter()
        inputs.of(encoder.encode(request))
        times.append(1000 * (time.perf_counter() - start))
    median, tail = np.percentile(times, [50, 99])
    return {"encode_ms_p50": float(median), "encode_ms_p99": float(tail)}
