"""Whom a field or a raw column describes."""

from __future__ import annotations

from enum import Enum


class Side(str, Enum):
    """Whom a field describes: the request, the candidate alone, or the pair."""

    REQUEST = "request"
    CANDIDATE = "candidate"
    CROSS = "cross"
