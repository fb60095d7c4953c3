"""The name of what is kept by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def content_key(content: Mapping[str, Any]) -> str:
    """Hashes plain data (24 hex digits)."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
