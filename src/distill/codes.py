"""Numbers with a meaning in prepared data and in batches; torch-free, so that preparing data needs no torch."""

from __future__ import annotations

from enum import IntEnum

MISSING_KEY = -(2**63)
"""Key of a user or an item that is not known; no id becomes it. Two of them are not the same user or item."""


class Stage(IntEnum):
    """How far a candidate got in the cascade."""

    RECALLED = 0
    PRERANKED = 1
    RANKED = 2
    EXPOSED = 3


class Origin(IntEnum):
    """Which rule produced a row of a batch."""

    LOG = 0
    PADDING = 1
    PSEUDO_POSITIVE = 2
    PSEUDO_NEGATIVE = 3
    STAGE_NEGATIVE = 4
    RANDOM_NEGATIVE = 5
    IN_BATCH_NEGATIVE = 6
