"""What an engine other than this process cannot do yet: refused, rather than done in this process."""

from __future__ import annotations

from distill.data.raw import RawDataset
from distill.engines import Engine
from distill.errors import ConfigError

_HERE = "Leave engine=local for this data."


def check_engine(engine: Engine, raw: RawDataset) -> None:
    """Refuses data with events unless it is prepared in this process.

    Raises:
        ConfigError: It is to be prepared elsewhere.
    """
    if engine.is_local:
        return
    if raw.events:
        raise ConfigError(
            "Events are attributed by engine=local only.",
            where="data.events",
            expected="null with another engine",
            found=", ".join(raw.events),
            remedy=_HERE,
        )
