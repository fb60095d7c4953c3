"""The encoding of requests is timed, each of them whole, for every kind of field."""

from __future__ import annotations

from itertools import count

import pytest

from distill.encodings import FittedEncodings
from distill.jobs import encoding_cost
from distill.jobs.encoding_cost import encoding_milliseconds
from distill.serving.request import RequestEncoder
from tests.export.conftest import Log


@pytest.mark.parametrize("sides", [("request", "candidate"), ("candidate",)])
def test_each_request_is_timed(log: Log, sides: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves on by 2 ms each time that it is read, and a request that reads it once more."""
    clock, seen = count(0.0, 0.002), list[dict[str, object]]()
    encode = RequestEncoder.encode

    def encoded(self: RequestEncoder, request: dict[str, object]) -> object:
        seen.append(request)
        next(clock)
        return encode(self, request)

    monkeypatch.setattr(encoding_cost.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(RequestEncoder, "encode", encoded)
    schema = log.dataset.schema.serving_view()
    schema = schema.model_copy(update={"fields": tuple(f for f in schema.fields if f.side.value in sides)})
    found = encoding_milliseconds(schema, FittedEncodings.load(log.dataset.root, log.dataset.manifest.encodings), 0.0)
    assert found["encode_ms_p50"] == pytest.approx(4.0)
    assert found["encode_ms_p99"] == pytest.approx(4.0)
    assert len(seen) == 50
    assert {name for request in seen for name in request} == {
        f.column for f in schema.fields if f.side.value == "request"
    }
