"""Names of fields, made of those of columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection


def field_name(column: str, taken: Collection[str]) -> str:
    """Turns the name of a column into that of a field: letters, digits and `_`, not longer than 60, not yet taken."""
    plain = unicodedata.normalize("NFKD", column).encode("ascii", "ignore").decode()
    plain = re.sub(r"\W+", "_", plain, flags=re.ASCII).strip("_")[:60]
    if not plain or not plain[0].isalpha():
        plain = f"f_{plain}" if plain else "field"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name
