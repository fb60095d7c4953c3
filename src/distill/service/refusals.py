"""Answers that are not a result: a status, and what was wrong as an error says it."""

from __future__ import annotations

import orjson

from distill.errors import DataError, DistillError


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: Of HTTP.
        headers: Of the answer.
        body: The answer, JSON.
    """

    def __init__(
        self, status: int, error: DistillError, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> None:
        super().__init__(error.problem)
        self.status, self.headers = status, headers or {}
        self.body = error_body(error) if body is None else body


def error_body(error: DistillError, hidden: str = "", shown: str = "") -> bytes:
    """Returns an error as JSON.

    Args:
        error: What was wrong.
        hidden: A text that the client is not to see, such as a folder.
        shown: In place of it.
    """

    def text(value: str | None) -> str | None:
        value = value.replace(hidden, shown) if hidden and value else value
        return None if value is None else value.encode("utf-8", "backslashreplace").decode()

    parts = {"where": error.where, "expected": error.expected, "found": error.found, "remedy": error.remedy}
    return orjson.dumps({"error": text(error.problem), **{name: text(value) for name, value in parts.items()}})


def shed(seconds: int = 1) -> Refusal:
    """Refuses a request since too many wait."""
    error = DataError("The service is busy.", remedy="Try again, or another instance.")
    return Refusal(429, error, {"retry-after": str(seconds)})
