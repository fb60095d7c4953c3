"""Tries again, a bounded number of times, what a network or a server may do wrong."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from distill.errors import DataError
from distill.places.uri import Place

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)
# What no second try makes right, as Arrow names errors of S3, and as it words those of others.
_PERMANENT = re.compile(
    r"AWS Error (ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|UNRECOGNIZED_CLIENT"
    r"|EXPIRED_TOKEN|INVALID_CLIENT_TOKEN_ID|MISSING_AUTHENTICATION_TOKEN)\b"
    r"|HTTP status 40[0135]|PERMISSION_DENIED|UNAUTHENTICATED|Permission denied|libhdfs"
)


@dataclass(frozen=True)
class Retries:
    """How often and after which pauses.

    Attributes:
        attempts: In a row without progress, the first one included.
        first_pause: Seconds; each further pause is twice as long.
        longest_pause: Seconds.
    """

    attempts: int = 6
    first_pause: float = 0.5
    longest_pause: float = 8.0

    def pause(self, attempt: int) -> float:
        """Returns seconds to wait after a failed attempt, from 1 on: half of them by chance, so that many processes do
        not come again together."""
        longest = min(self.longest_pause, self.first_pause * 2.0 ** (attempt - 1))
        return longest * (0.5 + random.random() / 2)


RETRIES = Retries()


def persistent(
    place: Place,
    doing: str,
    operation: Callable[[], _Result],
    progress: Callable[[], int] = lambda: 0,
    retries: Retries | None = None,
) -> _Result:
    """Runs an operation until it succeeds.

    Args:
        place: What it is about, for errors.
        doing: What is done: read, listed, written.
        operation: May run several times.
        progress: Grows with what is done; attempts are counted anew after it grew.
        retries: How often.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It failed for good, or too often in a row.
    """
    retries = RETRIES if retries is None else retries
    attempt, before = 0, progress()
    while True:
        try:
            return operation()
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            attempt, before = (1 if progress() > before else attempt + 1), progress()
            if _PERMANENT.search(str(error)) or attempt >= retries.attempts:
                raise _failed(place, doing, attempt, error) from error
            pause = retries.pause(attempt)
            _log.info("%s cannot be %s (%s); again in %.1f s.", place, doing, _line(error), pause)
            time.sleep(pause)


def _failed(place: Place, doing: str, attempts: int, error: Exception) -> DataError:
    tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    return DataError(
        f"A file or folder cannot be {doing}.",
        where=str(place),
        found=f"after {tries}: {_line(error)}",
        remedy="Check the URI, the credentials (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, …), the address of "
        "the server (AWS_ENDPOINT_URL) and the network. Finished parts are kept, so you can start again.",
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
