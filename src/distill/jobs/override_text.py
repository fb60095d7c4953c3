"""Overrides as people type them, for Hydra's parser."""

from __future__ import annotations

import re

# A path whose folders say values (`logs/day=11`), of characters that mean nothing else to the parser.
_PATH = re.compile(r"[\w./~@*?%+-]*=[\w./=~@*?%+-]*")


def for_hydra(override: str) -> str:
    """Returns an override whose value Hydra's parser takes as it stands: `data.source=logs/day=11` is quoted for it."""
    key, _, value = override.partition("=")
    return f'{key}="{value}"' if _PATH.fullmatch(value) else override
