"""The routes of the service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from distill import __version__
from distill.errors import DataError
from distill.service.batching import Batcher
from distill.service.body import read_body
from distill.service.gate import MISTAKE, Gate
from distill.service.metrics import CONTENT_TYPE, Metrics
from distill.service.openapi import DESCRIBED, described
from distill.service.options import Options
from distill.service.refusals import Refusal, error_body
from distill.service.scoring import Body, Scorer

_SWITCH_SECONDS = 0.001  # the loop wants the interpreter back soon from the thread that scores
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Waiting:
    """A request that waits to be scored with others, since a time."""

    body: Body
    since: float


class Service:
    """A worker: what its routes share.

    Args:
        options: Limits, and where bundles are.
        folder: Shared by the workers.
        token: Bearer token, if requests must carry one.
    """

    def __init__(self, options: Options, folder: Path, token: bytes | None) -> None:
        self.options, self.token = options, token
        self.metrics = Metrics()
        self.scorer = Scorer(options, folder, self.metrics.watched())
        self._threads = ThreadPoolExecutor(1, "score")
        wait = options.batch_wait_ms / 1000
        self._batcher = Batcher(self._together, wait, options.batch_requests, self._threads) if wait > 0 else None

    async def score(self, is_top: bool, request: Request) -> Response:
        """Answers a request for scores: with others that come within `batch_wait_ms`, if it is not 0."""
        scorer = self.scorer
        if self._batcher is None:
            return await self.work(scorer.top_k if is_top else scorer.score, request)
        batcher = self._batcher
        return await _responded(self._batched(batcher, is_top, request))

    async def _batched(self, batcher: Batcher[_Waiting, bytes], is_top: bool, request: Request) -> bytes:
        body = await read_body(request, self.options.body_bytes, self.options.body_seconds)
        return await batcher.answer(_Waiting(Body(body, is_top), time.monotonic()))

    def _together(self, waiting: Sequence[_Waiting]) -> list[bytes | Exception]:
        """Answers what did not wait too long."""
        now = time.monotonic()
        late = [now - one.since > self.options.wait_seconds for one in waiting]
        in_time = [one.body for one, is_late in zip(waiting, late, strict=True) if not is_late]
        found = iter(self.scorer.answer_together(in_time))
        return [self._too_late() if is_late else next(found) for is_late in late]

    def _too_late(self) -> Refusal:
        self.metrics.shed.labels("waited").inc()
        error = DataError("The request waited too long.", remedy="Try again, or another instance.")
        return Refusal(503, error, {"retry-after": "1"})

    async def work(self, job: Callable[[bytes], bytes], request: Request) -> Response:
        """Reads a body and does a job of the scorer with it: at once if it is short, else in the thread that scores."""
        return await _responded(self._worked(job, request))

    async def _worked(self, job: Callable[[bytes], bytes], request: Request) -> bytes:
        body = await read_body(request, self.options.body_bytes, self.options.body_seconds)
        asked = time.monotonic()

        def run() -> bytes:
            if time.monotonic() - asked > self.options.wait_seconds:
                raise self._too_late()
            return job(body)

        if self.scorer.is_short(body):
            await asyncio.sleep(0)  # so that who came meanwhile is let in, or refused
            return run()
        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    def ready(self) -> Response:
        """Answers /readyz."""
        generations = self.scorer.generations
        current, refused = generations.current, generations.refused
        said = {
            "status": "no bundle" if current is None else "ready",
            "bundle": None if current is None else current.name,
            "version": None if current is None else current.version,
            "kept": [kept.version for kept in generations.kept],
            "refused": None if refused is None else {"bundle": refused.name, "problem": refused.problem},
        }
        return Response(orjson.dumps(said), 503 if current is None else 200, media_type="application/json")

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        """Watches `current.json` until the service ends."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            self._threads.shutdown(wait=True, cancel_futures=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self.options.poll_seconds)
            try:
                await asyncio.to_thread(self.scorer.refresh)
            except OSError as error:
                _log.error("The folder of bundles cannot be read: %s", error)


async def _responded(found: Awaitable[bytes]) -> Response:
    try:
        return Response(await found, media_type="application/json")
    except Refusal as refusal:
        return Response(refusal.body, refusal.status, refusal.headers, "application/json")


def create_app(service: Service) -> Gate:
    """Returns the service as an ASGI application."""
    routes = FastAPI(
        title="distill", version=__version__, lifespan=service.running, docs_url=None, redoc_url=None, openapi_url=None
    )
    routes.add_exception_handler(HTTPException, _http_error)
    routes.add_exception_handler(Exception, _mistake)  # which the gate gets too, and reports
    _add_work(routes, service)
    _add_state(routes, service)
    return Gate(routes, service.metrics, service.options.in_flight, service.token)


def _add_work(routes: FastAPI, service: Service) -> None:
    scorer = service.scorer

    @routes.post("/score", **DESCRIBED["score"])
    async def score(request: Request) -> Response:
        return await service.score(False, request)

    @routes.post("/top_k", **DESCRIBED["top_k"])
    async def top_k(request: Request) -> Response:
        return await service.score(True, request)

    @routes.post("/items", **DESCRIBED["items"])
    async def items(request: Request) -> Response:
        return await service.work(scorer.put_items, request)


def _add_state(routes: FastAPI, service: Service) -> None:
    @routes.get("/healthz", **DESCRIBED["healthz"])
    async def healthz() -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    @routes.get("/readyz", **DESCRIBED["readyz"])
    async def readyz() -> Response:
        return service.ready()

    @routes.get("/metrics", **DESCRIBED["metrics"])
    async def metrics() -> Response:
        return Response(await asyncio.to_thread(service.metrics.text), media_type=CONTENT_TYPE)

    @routes.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        current = service.scorer.generations.current
        said: dict[str, Any] = described(routes.openapi(), None if current is None else current.bundle, service.options)
        return Response(orjson.dumps(said), media_type="application/json")


async def _mistake(_: Request, error: Exception) -> Response:
    return Response(error_body(DataError(MISTAKE)), 500, media_type="application/json")


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    body = error_body(DataError(f"{error.detail}."))
    return Response(body, error.status_code, headers=dict(error.headers or {}), media_type="application/json")
