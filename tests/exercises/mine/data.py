"""A dataset adapter: a shop that nobody visits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.raw import RawDataset
from distill.data.split import TimeSplit
from distill.schema import Schema

SCHEMA = {
    "name": "shop",
    "layout": "requests",
    "keys": {"request": "visit", "user": "visitor", "item": "product", "time": "day"},
    "fields": [
        {"name": "visitor", "side": "request", "kind": "id"},
        {"name": "product", "side": "candidate", "kind": "id"},
        {"name": "price", "side": "candidate", "kind": "number"},
    ],
    "tasks": [{"name": "click"}],
}


@dataclass(frozen=True)
class Shop:
    """Visits with ten products each; cheap ones are clicked."""

    visits: int = 500
    seed: int = 0

    @property
    def name(self) -> str:
        """Of the prepared dataset's folder."""
        return "shop"

    def fingerprint(self) -> str:
        """All that the raw data depend on."""
        return f"{self.visits}-{self.seed}"

    def write_raw(self, directory: Path) -> RawDataset:
        """Writes one Parquet file."""
        rng, rows = np.random.default_rng(self.seed), self.visits * 10
        visit, price = np.repeat(np.arange(self.visits), 10), rng.random(rows)
        table = {
            "visit": visit,
            "visitor": visit % 50,
            "day": visit // 20,
            "product": rng.integers(0, 200, rows),
            "price": price,
            "click": (rng.random(rows) > price).astype(np.int8),
        }
        pq.write_table(pa.table(table), directory / "visits.parquet")
        return RawDataset((directory / "visits.parquet",), Schema.model_validate(SCHEMA), TimeSplit())
