"""Bounds: requests in flight, waiting, slow bodies; a mistake of ours is an answer, and no value is logged."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from distill.errors import ConfigError
from distill.service.gate import Gate
from distill.service.options import Options, arguments, read_token
from distill.service.scoring import Scorer
from tests.service.conftest import REQUEST, Bundles, Client

BODY = orjson.dumps({"request": REQUEST, "items": ["i3"], "candidates": {"bid": [1.0]}})


async def post(gate: Gate, messages: list[dict[str, Any]] | None = None) -> tuple[int, dict[str, str], bytes]:
    """Sends a request; the last message is waited for without end if there is none."""
    left = [{"type": "http.request", "body": BODY, "more_body": False}] if messages is None else list(messages)
    sent: list[Any] = []

    async def receive() -> Any:
        return left.pop(0) if left else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/score",
        "raw_path": b"/score",
        "query_string": b"",
    }
    scope |= {"http_version": "1.1", "scheme": "http", "root_path": "", "server": ("x", 1), "client": ("x", 1)}
    scope |= {"headers": []}
    await gate(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


def test_more_requests_than_allowed_are_refused_at_once(
    gate: Callable[..., Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked, go = threading.Event(), threading.Event()

    def slow(self: Scorer, body: bytes) -> bytes:
        blocked.set()
        assert go.wait(20)
        return b"{}"

    monkeypatch.setattr(Scorer, "score", slow)

    async def many() -> list[int]:
        app = gate(in_flight=3)
        first = [asyncio.create_task(post(app)) for _ in range(3)]
        await asyncio.to_thread(blocked.wait, 20)
        status, headers, _ = await post(app)
        assert (status, headers["retry-after"]) == (429, "1")
        go.set()
        return [(await task)[0] for task in first] + [(await post(app))[0]]

    assert asyncio.run(many()) == [200, 200, 200, 200]


def test_a_request_that_waited_too_long_is_not_worked_on(
    gate: Callable[..., Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(self: Scorer, body: bytes) -> bytes:
        threading.Event().wait(0.3)
        return b"{}"

    monkeypatch.setattr(Scorer, "score", slow)

    async def two() -> list[int]:
        app = gate(wait_seconds=0.1)
        return [found[0] for found in await asyncio.gather(post(app), post(app))]

    assert asyncio.run(two()) == [200, 503]


def test_a_body_must_arrive(gate: Callable[..., Gate]) -> None:
    part = {"type": "http.request", "body": b"{", "more_body": True}
    status, headers, _ = asyncio.run(post(gate(body_seconds=0.05), [part]))
    assert (status, headers["connection"]) == (408, "close")
    gone = asyncio.run(post(gate(), [part, {"type": "http.disconnect"}]))
    assert gone[0] == 400


def test_a_mistake_is_an_answer_and_its_message_is_not_logged(
    client: Client, bundles: Bundles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wrong(self: Scorer, body: bytes) -> bytes:
        raise ValueError("user 3 is 41")

    monkeypatch.setattr(Scorer, "score", wrong)
    service = client(bundle=bundles.root / "b0")
    with caplog.at_level(logging.DEBUG, "distill"):
        found = service.post("/score", content=BODY)
    assert found.status_code == 500
    assert "mistake" in found.json()["error"]
    assert "ValueError" in caplog.text
    assert "41" not in [word for record in caplog.records for word in record.getMessage().split()]
    assert 'status="500"' in service.get("/metrics").text


def test_options_are_words_or_flags() -> None:
    assert arguments(["bundle=b", "port=9", "--workers", "2"]) == Options(bundle="b", port=9, workers=2)
    assert arguments(["--root=r", "body_bytes=7"]) == Options(root="r", body_bytes=7)
    for wrong in (
        Options(),
        Options(bundle="a", root="b"),
        Options(bundle="a", workers=0),
        Options(bundle="a", keep=0),
    ):
        with pytest.raises(ConfigError):
            wrong.checked()
    assert Options(**Options(root="x").plain()) == Options(root="x")


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" secret\n")
    (tmp_path / "empty").write_text("\n")
    assert read_token(Options(), {}) is None
    assert read_token(Options(), {"DISTILL_TOKEN": "abc"}) == b"abc"
    assert read_token(Options(token_file=str(tmp_path / "token")), {"DISTILL_TOKEN": "abc"}) == b"secret"
    for name in ("empty", "none"):
        with pytest.raises(ConfigError):
            read_token(Options(token_file=str(tmp_path / name)), {})
    with pytest.raises(ConfigError):
        read_token(Options(), {"DISTILL_TOKEN": " "})
