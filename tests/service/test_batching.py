"""Requests that are scored together are answered as they are alone, and wait no longer than is said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from distill.service.batching import Batcher
from distill.service.gate import Gate
from distill.service.options import Options
from distill.service.refusals import Refusal
from distill.service.scoring import Body, Scorer
from distill.serving import Bundle
from tests.export.raw import catalogue
from tests.service.conftest import REQUEST, Bundles
from tests.service.test_gate import post


def body_of(top: bool = False, **changes: Any) -> Body:
    whole = {"request": REQUEST, "items": ["i3", "i9", "i4"], "candidates": {"bid": [1.0, 2.0, 0.5]}, **changes}
    return Body(orjson.dumps(whole), top)


@pytest.fixture
def scorer(bundles: Bundles, tmp_path: Path) -> Scorer:
    scorer = Scorer(Options(bundle=str(bundles.path("b0"))), tmp_path)
    scorer.start()
    return scorer


def alone(scorer: Scorer, body: Body) -> Any:
    try:
        return orjson.loads((scorer.top_k if body.is_top else scorer.score)(body.content))
    except Refusal as refusal:
        return refusal.status, orjson.loads(refusal.body)


def test_many_are_answered_as_each_is(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other types, columns, items that are not there and wrong values: each gets its own answer."""
    five = catalogue().slice(0, 5).to_pydict()
    bodies = [
        body_of(),
        body_of(True, k=2, request={**REQUEST, "user": 4, "past": []}),
        body_of(request={**REQUEST, "user": "3"}),  # of another type
        body_of(request={**REQUEST, "age": None, "past": None}),
        body_of(items=["i3", "nobody", "i4"]),
        body_of(items=["i3", "nobody", "i4"], missing="skip"),
        body_of(True, k=9, items=["i8"], candidates={"bid": [2.5]}),
        Body(b"{", False),
        body_of(version="0" * 32),
        body_of(items=None, candidates={**five, "bid": [1.0] * 5}),
        body_of(request={**REQUEST, "taste": [0.1]}),
        body_of(items=[], candidates={"bid": []}),
        body_of(fields=["logits"]),
        body_of(fields=["nothing"]),
    ]
    wanted = [alone(scorer, body) for body in bodies]
    calls: list[int] = []
    batch = Bundle.score_batch

    def counted(self: Bundle, request: Any, candidates: Any, counts: Any, items: Any = None) -> Any:
        calls.append(len(counts))
        return batch(self, request, candidates, counts, items)

    monkeypatch.setattr(Bundle, "score_batch", counted)
    found = scorer.answer_together(bodies)
    for one, said in zip(found, wanted, strict=True):
        if isinstance(one, bytes):
            _assert_close(orjson.loads(one), said)
        else:
            assert isinstance(one, Refusal)
            assert (one.status, orjson.loads(one.body)) == said
    assert max(calls) >= 3
    assert [type(one) for one in found].count(Refusal) == 6


def test_values_of_other_types_are_not_one_column(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bundle, "score_batch", lambda *_: pytest.fail("they were"))
    bodies = [body_of(request={**REQUEST, "user": user}) for user in (3, 3.0, "3", True)]
    bodies += [body_of(request={**REQUEST, "taste": taste}) for taste in ([1, 2, 3], [1.0, True, 3.0])]
    wanted = [alone(scorer, body) for body in bodies]
    for one, said in zip(scorer.answer_together(bodies), wanted, strict=True):
        assert (orjson.loads(one) if isinstance(one, bytes) else (one.status, orjson.loads(one.body))) == said  # type: ignore[attr-defined]


def test_a_mistake_of_ours_is_that_of_one_request(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Bundle.score

    def wrong(self: Bundle, request: Any, *others: Any) -> Any:
        if request["user"] == 5:
            raise RuntimeError("a mistake")
        return score(self, request, *others)

    monkeypatch.setattr(Bundle, "score", wrong)
    monkeypatch.setattr(Bundle, "score_batch", lambda *_: (_ for _ in ()).throw(RuntimeError("a mistake")))
    right, mistake = scorer.answer_together([body_of(), body_of(request={**REQUEST, "user": 5})])
    assert isinstance(right, bytes)
    assert isinstance(mistake, RuntimeError)


def _assert_close(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if isinstance(value, dict):
            _assert_close(found[name], value)
        elif name in ("ranking_score", "logits") or (isinstance(value, list) and value and isinstance(value[0], float)):
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6)
        else:
            assert found[name] == value


class Work:
    """Doubles numbers in batches, and remembers them."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self._seconds = seconds

    def __call__(self, jobs: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(jobs))
        time.sleep(self._seconds)
        return [ValueError(str(job)) if job < 0 else 2 * job for job in jobs]


def together(work: Work, wait: float, most: int, use: Callable[[Batcher[int, int]], Any]) -> Any:
    async def run() -> Any:
        with ThreadPoolExecutor(1) as threads:
            return await use(Batcher(work, wait, most, threads))

    return asyncio.run(run())


def test_jobs_of_a_time_are_one_batch() -> None:
    work = Work()

    async def use(batcher: Batcher[int, int]) -> list[Any]:
        return await asyncio.gather(*map(batcher.answer, (1, -2, 3)), return_exceptions=True)

    found = together(work, 0.05, 9, use)
    assert work.batches == [[1, -2, 3]]
    assert found[0] == 2
    assert isinstance(found[1], ValueError)
    assert found[2] == 6


def test_a_full_batch_does_not_wait() -> None:
    work = Work()

    async def use(batcher: Batcher[int, int]) -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*map(batcher.answer, range(4))), 5)

    assert together(work, 3600.0, 2, use) == [0, 2, 4, 6]
    assert work.batches == [[0, 1], [2, 3]]


def test_one_alone_waits_no_longer_than_is_said() -> None:
    work = Work()

    async def use(batcher: Batcher[int, int]) -> float:
        start = time.monotonic()
        await batcher.answer(1)
        return time.monotonic() - start

    assert 0.02 <= together(work, 0.02, 9, use) < 5
    assert work.batches == [[1]]


def test_a_client_that_left_and_a_batch_that_fails_hold_up_nobody() -> None:
    work = Work(0.05)

    async def use(batcher: Batcher[int, int]) -> list[Any]:
        left = asyncio.ensure_future(batcher.answer(1))
        stays = asyncio.ensure_future(batcher.answer(2))
        await asyncio.sleep(0.02)
        left.cancel()
        return await asyncio.gather(left, stays, batcher.answer(3), return_exceptions=True)

    found = together(work, 0.01, 9, use)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [4, 6]

    def broken(jobs: Sequence[int]) -> list[int | Exception]:
        raise RuntimeError("all of it")

    async def fails() -> list[Any]:
        with ThreadPoolExecutor(1) as threads:
            batcher: Batcher[int, int] = Batcher(broken, 0.01, 9, threads)
            return await asyncio.gather(batcher.answer(1), batcher.answer(2), return_exceptions=True)

    assert [type(one) for one in asyncio.run(fails())] == [RuntimeError, RuntimeError]


def test_the_service_scores_what_comes_together_in_one_call(
    gate: Callable[..., Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    batch = Bundle.score_batch

    def counted(self: Bundle, request: Any, candidates: Any, counts: Any, items: Any = None) -> Any:
        calls.append(len(counts))
        return batch(self, request, candidates, counts, items)

    one_by_one, at_once = gate(), gate(batch_wait_ms=30.0)
    monkeypatch.setattr(Bundle, "score_batch", counted)

    async def several(app: Gate) -> list[tuple[int, dict[str, str], bytes]]:
        return list(await asyncio.gather(*(post(app) for _ in range(5))))

    alone = asyncio.run(several(one_by_one))
    assert calls == []
    found = asyncio.run(several(at_once))
    assert calls == [5]
    for one, other in zip(found, alone, strict=True):
        assert one[0] == other[0] == 200
        _assert_close(orjson.loads(one[2]), orjson.loads(other[2]))


def test_who_waited_too_long_is_not_scored(gate: Callable[..., Gate]) -> None:
    app = gate(batch_wait_ms=80.0, wait_seconds=0.02)
    status, headers, _ = asyncio.run(post(app))
    assert status == 503
    assert headers["retry-after"] == "1"
