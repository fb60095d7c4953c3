"""A meter for each pass over the data."""

from __future__ import annotations

from distill.screen.meters import Meter, Meters

Pass = Meter


class PassProgress(Meters):
    """Counts rows; shows nothing when not enabled."""

    def __init__(self, enabled: bool) -> None:
        super().__init__(enabled, "rows")

    def __enter__(self) -> PassProgress:
        super().__enter__()
        return self
