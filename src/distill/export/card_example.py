"""A request that the service of a bundle answers, for its card: a golden one, cut short."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from distill.schema import Schema, Side, source_columns
from distill.serving.item_keys import KEY
from distill.serving.items import TABLE
from distill.serving.manifest import GOLDEN, ITEMS, Manifest
from distill.serving.proof import CANDIDATES, REQUEST

_CANDIDATES, _LONGEST = 3, 3


def curl_example(manifest: Manifest, schema: Schema, root: Path) -> str | None:
    """Returns the command that asks for the best two candidates; None where no golden request is short and whole.

    Args:
        manifest: Of the bundle.
        schema: The model's view of the schema.
        root: Its folder, with golden requests, and with stored items if there are any.
    """
    bodies = filter(None, (_body(row, manifest, schema, root) for row in pq.read_table(root / GOLDEN).to_pylist()))
    body = max(bodies, key=_known, default=None)
    if body is None:
        return None
    said = json.dumps({**body, "k": 2}, ensure_ascii=False, allow_nan=False)
    return f"curl -s localhost:8080/top_k -d {shlex.quote(said)}"


def _body(row: Mapping[str, Any], manifest: Manifest, schema: Schema, root: Path) -> dict[str, Any] | None:
    candidates = (row.get(CANDIDATES) or [])[:_CANDIDATES]
    if len(candidates) < _CANDIDATES:
        return None
    body: dict[str, Any] = {"request": {name: _short(value) for name, value in (row.get(REQUEST) or {}).items()}}
    wanted = set(candidates[0])
    if (root / ITEMS).is_dir():
        with pq.ParquetFile(root / ITEMS / TABLE) as file:
            first = next(file.iter_batches(_CANDIDATES, columns=[KEY]), None)
        keys = [] if first is None else first[KEY].to_pylist()
        if len(keys) < _CANDIDATES:
            return None
        body["items"] = keys
        wanted = {*source_columns(schema.side(Side.CROSS), of_request=False), *schema.score.columns}
        wanted |= set() if manifest.rerank is None else set(manifest.rerank.columns)
    columns = {name: [_short(each[name]) for each in candidates] for name in candidates[0] if name in wanted}
    if columns:
        body["candidates"] = columns
    try:
        json.dumps(body, allow_nan=False)
    except (TypeError, ValueError):  # a time, bytes, a number that is not finite
        return None
    return body


def _short(value: Any) -> Any:
    return value[:_LONGEST] if isinstance(value, list) and value and not isinstance(value[0], float) else value


def _known(body: Mapping[str, Any]) -> int:
    """Counts values that are there: most of a golden request shows more than one of nulls."""
    values = [*body["request"].values(), *(v for column in body.get("candidates", {}).values() for v in column)]
    return sum(value is not None and value != [] for value in values)
