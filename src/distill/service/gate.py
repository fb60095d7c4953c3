"""What stands before the routes: the token, the bound on requests in flight, metrics, an answer whatever happens."""

from __future__ import annotations

import hmac
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from distill.errors import DataError
from distill.service.metrics import Metrics
from distill.service.refusals import Refusal, error_body, shed

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

WORK = ("/score", "/top_k", "/items")
OPEN = ("/healthz", "/readyz")
_ROUTES = frozenset((*WORK, *OPEN, "/metrics", "/openapi.json"))
MISTAKE = "The service made a mistake; its log says which."
_SCHEME = b"bearer "
_log = logging.getLogger(__name__)


class Gate:
    """An ASGI application in front of another one.

    Args:
        app: The routes.
        metrics: Count its answers.
        most: Requests for `WORK` at a time.
        token: That requests must carry, but for `OPEN`; without one /items is closed.
    """

    def __init__(self, app: App, metrics: Metrics, most: int, token: bytes | None) -> None:
        self._app, self._metrics, self._most, self._token = app, metrics, most, token
        self._in_flight = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        route = scope["path"] if scope["path"] in _ROUTES else "other"
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._guarded(route, scope, receive, observed)
        except Refusal as refusal:
            await respond(observed, refusal.status, refusal.body, refusal.headers)
        except Exception as error:
            _report(route, error)
            if status == 0:
                await respond(observed, 500, error_body(DataError(MISTAKE)), {})
        finally:
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)

    async def _guarded(self, route: str, scope: Message, receive: Receive, send: Send) -> None:
        self._check_token(route, scope)
        if route not in WORK:
            await self._app(scope, receive, send)
            return
        if self._in_flight >= self._most:
            self._metrics.shed.labels("in_flight").inc()
            raise shed()
        self._in_flight += 1
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.dec()

    def _check_token(self, route: str, scope: Message) -> None:
        if route in OPEN:
            return
        if self._token is None:
            if route == "/items":
                raise Refusal(
                    403,
                    DataError("The route /items needs a service with a token.", remedy="Start the service with one."),
                )
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        is_bearer = given[: len(_SCHEME)].lower() == _SCHEME
        if not (hmac.compare_digest(given[len(_SCHEME) :].strip(), self._token) and is_bearer):
            error = DataError("The request has no token, or a wrong one.", expected="Authorization: Bearer TOKEN")
            raise Refusal(401, error, {"www-authenticate": "Bearer"})


async def respond(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    """Sends an answer of JSON."""
    pairs = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    encoded = [(name.encode(), value.encode()) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def _report(route: str, error: BaseException) -> None:
    """Logs where an error was raised. Its message is left out: it may hold values of a request."""
    places = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s on %s\n%s", type(error).__name__, route, places)
