"""Reads a body that is bounded in size and in time."""

from __future__ import annotations

import anyio
from starlette.requests import ClientDisconnect, Request

from distill.errors import DataError
from distill.service.refusals import Refusal

_CLOSE = {"connection": "close"}


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """Returns the body of a request.

    Args:
        request: Whose.
        most: Bytes.
        seconds: In which it must arrive.

    Raises:
        Refusal: It is too large, too slow, or the client is gone.
    """
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > most:
        raise _too_large(most)
    try:
        with anyio.fail_after(seconds):
            return await _read(request, most)
    except TimeoutError:
        error = DataError("The body did not arrive in time.", where="body", expected=f"within {seconds:g} s")
        raise Refusal(408, error, _CLOSE) from None
    except ClientDisconnect:
        raise Refusal(400, DataError("The client is gone.", where="body"), _CLOSE) from None


async def _read(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
    return b"".join(parts)


def _too_large(most: int) -> Refusal:
    return Refusal(413, DataError("The body is too large.", where="body", expected=f"at most {most} bytes"), _CLOSE)
