"""A folder of predictions: a file for each unit of the raw rows, whole or not there; a job can be taken up again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from distill.data.sealed import read_sealed, write_sealed
from distill.errors import DataError
from distill.files import remove_leftovers_below

PLAN_FILE, PREDICTIONS_FILE = "plan.json", "predictions.json"
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
        found = self._found()
        if found is not None and found != self.plan:
            differ = sorted(name for name in {*found, *self.plan} if found.get(name) != self.plan.get(name))
            raise DataError(
                "The folder holds other predictions.",
                where=str(self.root),
                expected=f"predictions of the same {', '.join(differ)}",
                found=", ".join(f"{name}: {str(found.get(name))[:80]}" for name in differ),
                remedy="Choose another folder (out=DIR), or delete this one.",
            )
        if found is None and self.root.is_dir() and any(self.root.iterdir()):
            raise DataError(
                "The folder holds something else than predictions.",
                where=str(self.root),
                expected="an empty folder, or none",
                remedy="Choose another folder (out=DIR).",
            )
        self.root.mkdir(parents=True, exist_ok=True)
        remove_leftovers_below(self.root)
        if found is None:
            write_sealed(self.root / PLAN_FILE, self.plan)

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

    def _found(self) -> dict[str, Any] | None:
        try:
            return read_sealed(self.root / PLAN_FILE)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise DataError(
                "The plan of predictions is damaged.",
                where=str(self.root / PLAN_FILE),
                found=str(error).splitlines()[0],
                remedy="Choose another folder (out=DIR), or delete this one.",
            ) from error


def with_counts(schema: pa.Schema, counts: Mapping[str, int]) -> pa.Schema:
    """Returns the schema of a part with what was counted while it was made."""
    return schema.with_metadata({**(schema.metadata or {}), _COUNTS: json.dumps(dict(counts)).encode()})
