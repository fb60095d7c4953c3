"""Encoding a request is timed for every kind of field."""

from __future__ import annotations

from distill.encodings import FittedEncodings
from distill.jobs.encoding_cost import encoding_milliseconds
from tests.export.conftest import Log


def test_every_kind_of_field_is_timed(log: Log) -> None:
    schema = log.dataset.schema.serving_view()
    fitted = FittedEncodings.load(log.dataset.root, log.dataset.manifest.encodings)
    found = encoding_milliseconds(schema, fitted, 0.0)
    assert 0 < found["encode_ms_p50"] <= found["encode_ms_p99"]


def test_a_model_without_request_fields_costs_next_to_nothing(log: Log) -> None:
    schema = log.dataset.schema.serving_view()
    alone = schema.model_copy(update={"fields": tuple(f for f in schema.fields if f.side.value == "candidate")})
    fitted = FittedEncodings.load(log.dataset.root, log.dataset.manifest.encodings)
    assert encoding_milliseconds(alone, fitted, 0.0)["encode_ms_p50"] > 0
