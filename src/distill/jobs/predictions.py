"""A folder of predictions: a file for each unit of the raw rows, whole or not there; a job can be taken up again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.files import remove_leftovers_below
from distill.jobs.planned_folder import begin
from distill.sealed import write_sealed

PREDICTIONS_FILE = "predictions.json"
_COUNTS = b"distill.counts"


class PredictionFolder:
    """Where predictions go.

    Args:
        root: The folder.
        plan: Plain data that says what is predicted; another plan would make other files.
        num_parts: How many files there will be.
    """

    def __init__(self, root: Path, plan: Mapping[str, Any], num_parts: int) -> None:
        self.root = root
        self.plan = dict(plan)
        self.num_parts = num_parts

    def begin(self) -> None:
        """Makes the folder, or takes one up again that the same job left.

        Raises:
            DataError: It holds something else.
        """
        begin(self.root, self.plan, "predictions")
        remove_leftovers_below(self.root)

    def part(self, number: int) -> Path:
        """Path of the file of a unit."""
        return self.root / f"part-{number:05d}.parquet"

    def finish(self) -> dict[str, Any]:
        """Writes what all parts hold together, and returns it: rows, requests, and unknown values by field."""
        parts, total = [], Counter[str]()
        for number in range(self.num_parts):
            file = pq.ParquetFile(self.part(number))
            parts.append({"path": self.part(number).name, "rows": file.metadata.num_rows})
            total.update(json.loads((file.metadata.metadata or {})[_COUNTS]))
        content = {**self.plan, "parts": parts, "counts": dict(total)}
        write_sealed(self.root / PREDICTIONS_FILE, content)
        return content


def with_counts(schema: pa.Schema, counts: Mapping[str, int]) -> pa.Schema:
    """Returns the schema of a part with what was counted while it was made."""
    return schema.with_metadata({**(schema.metadata or {}), _COUNTS: json.dumps(dict(counts)).encode()})
